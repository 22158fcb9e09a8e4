"""Who the customer is, which conversation this belongs to, who answers and by when; and the agents' API."""
