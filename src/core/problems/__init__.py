"""Problems: conditions that need an operator, with a key under which they open, are counted, and close."""
