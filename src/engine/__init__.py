"""Running GraphQL: document cache, limits, plans that answer in bytes. Knows no noun of the business."""
