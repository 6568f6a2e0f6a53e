"""The admission policies of the operator's chart, and attacks with the permissions of each identity."""
