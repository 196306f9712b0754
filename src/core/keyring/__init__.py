"""Which keys sealed values lie under, and how they come to lie under the current one."""
