"""Jobs: many questions that one request asks: batches, warming, reports."""
