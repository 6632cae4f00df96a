"""Fine-tuning encoders on labelled queries, and small encoders trained from nothing."""
