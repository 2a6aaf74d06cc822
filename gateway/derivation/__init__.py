"""Answers that follow from other answers of the service: by which rules, and how far each rule is trusted."""
