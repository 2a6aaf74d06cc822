"""The way of a request: who asks, what is asked, what is stored, what is fetched, what is answered."""
