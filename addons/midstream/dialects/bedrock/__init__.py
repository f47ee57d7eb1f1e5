"""Bedrock: Converse, and InvokeModel with each maker's own bodies."""
