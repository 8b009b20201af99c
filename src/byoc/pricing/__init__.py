"""What clouds sell and what it costs."""
