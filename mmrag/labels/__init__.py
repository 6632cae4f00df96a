"""Making labels: judging, pooling, agreement, drafting, and editing eval sets."""
