"""The resident registry network (住民基本台帳ネットワークシステム) as a mesh of gRPC nodes."""

__version__ = "0.1.0"
