"""What follows a failure, and how two answers join (design section 7). Pure."""
