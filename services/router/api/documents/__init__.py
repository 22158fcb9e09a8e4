"""What the API shows, a module for each resource; tables are not API models."""
