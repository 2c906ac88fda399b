"""Agency gateway (情報提供サーバ): inquiries, purpose check, transparency ledger. Holds no resident data."""
