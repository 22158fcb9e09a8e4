"""What Meta's products have in common: their webhooks' signature and batches, the Graph API's errors."""
