"""Center (全国サーバ): link receiver, register of the nation, provision to gateways."""
