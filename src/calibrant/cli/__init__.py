"""The command line: every verb of `verbs.VERBS`, with options derived from the verb's own declaration."""
