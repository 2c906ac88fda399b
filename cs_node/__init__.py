"""CS (コミュニケーションサーバ): a municipality's node. Intake, register, link sender."""
