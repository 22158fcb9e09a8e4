"""Gets replies out and knows what became of them."""
