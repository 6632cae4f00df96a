# The dashboard, as an ordinary user. Its state (runs, weights, uploads) lies in the volume /data.
FROM python:3.11-slim-bookworm

RUN useradd --create-home --uid 10001 mmrag && mkdir /data && chown mmrag /data
WORKDIR /app
COPY requirements.txt .
# For example --build-arg PIP_ARGS="--extra-index-url ..." for a torch without CUDA.
ARG PIP_ARGS=
RUN pip install --no-cache-dir $PIP_ARGS -r requirements.txt
COPY pyproject.toml hatch_build.py requirements-dev.txt requirements-distributed.txt requirements-mteb.txt README.md LICENSE dashboard.py ./
COPY .streamlit .streamlit
COPY mmrag mmrag
COPY bench bench
COPY eval_sets eval_sets
RUN pip install --no-cache-dir $PIP_ARGS --no-deps .

USER mmrag
ENV MMRAG_HOME=/data PYTHONUNBUFFERED=1
VOLUME /data
EXPOSE 8501
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8501/_stcore/health', timeout=4)"]
# Listens to the outside of the container: give it MMRAG_DASHBOARD_PASSWORD, or see `docker logs` for
# the link that it prints. `--allow-host NAME` behind it names what browsers call it.
CMD ["mmrag", "dashboard", "--host", "0.0.0.0", "--no-prepare"]
