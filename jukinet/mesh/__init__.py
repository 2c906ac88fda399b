"""What every gRPC process of the network shares: identity, TLS, interceptors, errors, health, config."""
