"""Beyond one machine: embedding and evaluation over Ray workers, remote images, Parquet shards."""
