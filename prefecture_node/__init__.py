"""Prefecture node (都道府県サーバ): link receiver, register of its municipalities' residents, link sender."""
