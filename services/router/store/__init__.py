"""The only SQL on the schema `router`: set-based statements named by intent."""
