"""Labels of one's own: judging, pooling, agreement, drafting, and editing eval sets."""
