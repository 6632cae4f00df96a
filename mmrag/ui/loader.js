// Streamlit's front end is a hundred small modules; this fetches those that the first page needs as
// one file. Each stays a module of its own, under the address that it has on the server too.
(async () => {
  const base = new URL("./static/js/", document.baseURI).href;
  const start = (src) => {
    const script = document.createElement("script");
    script.type = "module";
    script.crossOrigin = "";
    script.src = src;
    script.onerror = () => {
      // Where blobs are forbidden: the page once more, without them.
      if (sessionStorage.mmragPlain) return;
      sessionStorage.mmragPlain = "yes";
      location.reload();
    };
    document.head.append(script);
  };
  let modules = {};
  try {
    if (!sessionStorage.mmragPlain) modules = await (await fetch(PACK)).json();
  } catch {
    // As Streamlit itself begins, one module after the other.
  }
  globalThis.mmragModules = base;
  const imports = { "mmrag-modules/": base };
  for (const [name, source] of Object.entries(modules)) {
    const address = URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
    imports[`mmrag-modules/${name}`] = imports[base + name] = address;
  }
  const map = document.createElement("script");
  map.type = "importmap";
  map.textContent = JSON.stringify({ imports });
  document.head.append(map);
  start(imports[base + MAIN] ?? base + MAIN);
})();
