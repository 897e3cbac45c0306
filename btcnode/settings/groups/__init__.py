"""The options, a module for each group: this is where one is added or changed."""
