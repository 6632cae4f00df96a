"""Fine-tuning encoders on labelled queries, and training small encoders from scratch."""
