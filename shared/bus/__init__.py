"""What carries events between services: Apache Kafka, or the same promises inside one process."""
