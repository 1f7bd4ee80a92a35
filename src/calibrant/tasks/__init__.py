"""The field's verbs, thin: read, choose parts, solve, write. One verb a file; parameters carry CASA's names."""
