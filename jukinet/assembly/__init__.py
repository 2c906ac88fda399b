"""What the four kinds of node have in common: a process that serves, a register with its link, the operator's view."""
