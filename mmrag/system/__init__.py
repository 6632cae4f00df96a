"""The operating system's side: files, processes, SQLite, threads, signals."""
