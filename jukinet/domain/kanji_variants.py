"""Old and variant forms of kanji (旧字体・異体字) that one name may be written with.

For search keys only: forms that law tells apart, such as 斉 and 斎,斊 stand together here because people mix them up.
Compatibility forms that NFKC folds by itself (U+FA19 and its like) are not listed.
Source: old forms of the list of common kanji (常用漢字表, 2010) and of the kanji for names (Family Register Act
Enforcement Regulation, table 2); the 55 kanji whose form JIS X 0208 changed in 1983 (22 that changed places, 29 that
were simplified, 4 with a second place); variants that are frequent in names.
"""

from types import MappingProxyType

# In each group the first form is the one that the key has.
_OLD_FORMS = """
亜亞 悪惡 圧壓 囲圍 医醫 為爲 壱壹 隠隱 栄榮 営營 衛衞 駅驛 円圓 塩鹽 縁緣 艶艷 応應 欧歐 殴毆
桜櫻 奥奧 横橫 温溫 穏穩 仮假 価價 画畫 会會 絵繪 壊壞 懐懷 拡擴 殻殼 覚覺 学學斈 岳嶽 楽樂 渇渴
巻卷 陥陷 勧勸 寛寬 関關 歓歡 観觀 顔顏 気氣 帰歸 偽僞 戯戲 犠犧 旧舊 拠據 挙擧 虚虛 峡峽 挟挾
狭狹 郷鄕鄉 暁曉 区區 駆驅駈 勲勳 薫薰 径徑 茎莖 恵惠 掲揭 渓溪 経經 蛍螢 軽輕 継繼 鶏鷄 芸藝 撃擊
欠缺 倹儉 剣劍劒劔釼 険險 圏圈 検檢 献獻 権權 顕顯 験驗 厳嚴 呉吳 広廣 効效 恒恆 黄黃 鉱鑛 号號
国國囯圀 黒黑 砕碎 済濟 斎齋齎斉齊 剤劑 雑雜 参參 桟棧 蚕蠶 惨慘 賛贊 残殘 糸絲 歯齒 児兒 辞辭 湿濕
実實 写寫 舎舍 釈釋 寿壽 収收 従從 渋澁澀 獣獸 縦縱 粛肅 処處 緒緖 叙敍敘 尚尙 将將 称稱 渉涉 焼燒
証證 奨奬 条條 状狀 乗乘 浄淨 剰剩 畳疊 縄繩 壌壤 嬢孃 譲讓 醸釀 触觸 嘱囑 真眞 寝寢 慎愼 尽盡
図圖 粋粹 酔醉 穂穗 随隨 髄髓 枢樞 数數 瀬瀨 声聲 青靑 清淸 静靜 窃竊 摂攝 専專 浅淺 戦戰 践踐
銭錢 潜潛 繊纖 禅禪 双雙 壮壯 争爭 荘莊 捜搜 挿插 巣巢 曽曾 装裝 総總 騒騷 増增 蔵藏 臓臟 即卽
属屬 続續 堕墮 対對 体體躰軆 帯帶 滞滯 台臺 滝瀧 択擇 沢澤 担擔 胆膽 単單 団團 弾彈 断斷 痴癡 遅遲
昼晝 虫蟲 鋳鑄 庁廳 徴徵 聴聽 鎮鎭 逓遞 鉄鐵銕鐡 点點 転轉 伝傳 灯燈 当當 党黨 盗盜 稲稻 闘鬪鬭 徳德
独獨 読讀 届屆 弐貳貮弍 悩惱 脳腦 覇霸 拝拜 廃廢 売賣 麦麥 発發 髪髮 抜拔 晩晚 蛮蠻 秘祕 浜濱濵 瓶甁
払拂 仏佛 併倂 並竝 辺邊邉 変變 弁辨瓣辯 歩步 宝寶寳 豊豐 褒襃 翻飜 毎每 万萬 満滿 黙默 弥彌 訳譯
薬藥 与與 予豫 余餘 誉譽 揺搖 様樣 謡謠 来來 頼賴 覧覽 竜龍 両兩 猟獵 緑綠 塁壘 涙淚 励勵 礼禮
隷隸 霊靈 齢齡 暦曆 歴歷 恋戀 錬鍊 炉爐 労勞 郎郞 楼樓 録錄 湾灣 亀龜 缶罐 晋晉 尭堯 遥遙 瑶瑤
凛凜 槙槇 桧檜 祢禰 祷禱 禄祿 穣穰 巌巖 聡聰 萌萠 鴎鷗 鴬鶯 焔焰 概槪 県縣 没沒 乱亂 杯盃 砿礦 蕊蘂 蝿蠅 侭儘
唖啞 屡屢 繍繡 掻搔 嚢囊 溌潑 醗醱 攅攢
"""
_NAMES = """
高髙 崎﨑嵜碕𥔎㟢 島嶋嶌嶹 吉𠮷 橋𣘺槗 土圡𡈽 柳栁桺 桑桒 富冨 峰峯 秋穐秌龝 梅楳 館舘 船舩 角⻆
鶴靏靍靎 脇𦚰 卯夘 昂昻 晃晄 磯礒 野埜 爾尓 籠篭 薮藪籔 淵渕渊 桝枡 芦蘆 砺礪 竃竈 穎頴 皐皋 昇曻
松枩 丈𠀋 欅﨔 鯵鰺 麹麴 檪櫟 涛濤 靱靭 壺壷 煙烟 略畧 群羣 隣鄰 裏裡 厩廐廄 刃刄 勅敕 厨廚 涼凉
凡凢 刈苅 事亊 侯矦 喜㐂 須湏 養飬 猪豬 鋭銳 兎兔菟 蛎蠣 頬頰 填塡 剥剝 叱𠮟 呑吞 噛嚙 痩瘦 掴摑
繋繫 莱萊 蝋蠟 醤醬 麺麵 侠俠 倶俱 迩邇 諌諫 騨驒 箪簞 撹攪 潅灌 梼檮 涜瀆 賎賤 躯軀 顛顚 鹸鹼
彦彥 産產 内內 戸戶户 説說 悦悅 税稅 閲閱 絶絕 教敎 歳歲 研硏 姫姬 戻戾 冊册 婿壻 妍姸 柵栅 珍珎
窓窗 園薗 村邨 達逹 場塲 宜冝 熙煕熈 蒋蔣 亘亙 讃讚 啓啟 間閒 留畄 鼓皷 勢㔟 遠逺 鎌鐮 迪廸
京亰 雁鴈 柏栢 傑杰 峨峩 蓑簑 虎乕 曹曺 鉤鈎 竪豎 舗舖 蝉蟬 頸頚 鬱欝
"""

VARIANTS = MappingProxyType(
    {ord(variant): group[0] for group in (_OLD_FORMS + _NAMES).split() for variant in group[1:]}
)
"""Code point of a variant -> the form that search keys have."""
