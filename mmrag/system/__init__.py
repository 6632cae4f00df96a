"""What the operating system and its libraries need: files, processes, SQLite, threads, signals."""
