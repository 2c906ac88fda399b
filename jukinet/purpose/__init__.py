"""Purpose limit (目的外利用の禁止): who may be provided with what of an identity record, for which row of the Act.

The list of receivers is closed (Act art. 30-25), so everything starts denied. `statute` holds an edition of the annexed
tables (別表第一-第六) as facts, `articles` what the articles open, `edition` its file, `editions` which one decides on
which day, `agencies` the directory of those who may ask; `decision` asks the Cedar policies. `statute_check` and
`replay` judge a draft before it decides.
"""
