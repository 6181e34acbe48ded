"""What every long-lived process needs: database, health, logs, workers."""
