"""What vendors speak: one module a wire format, each sans-IO behind `ports.WireFormat`."""
