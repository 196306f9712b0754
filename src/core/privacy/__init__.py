"""Personal data: how long it is kept, who asked for it to be erased, and how companies' ids spell it."""
