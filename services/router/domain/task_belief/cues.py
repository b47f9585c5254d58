"""Words that say what is wanted, in a dozen languages: the start of a word → the task it points to.

They carry over to languages and subjects that no training prompt had; how much each kind of place counts (first
words, last words, anywhere) is learned, not written here. A start may point to several tasks.
"""

STEM_CHARS = 5  # letters kept of a word: enough to join "summarise", "summary" and "summarised".

_CUES = {
    "summarise": "summa summarise tl tldr gist recap conde short briefly synop abstr takeaw digest outli boil nutshell"
    " overview résum résumé resum resume resumen zusammenf zusam kurzf riass samenv podsum краткое резюме"
    " conclus keypoints points minutes highl sinte sintesi synthè 要約 总结 摘要 概括 요약 özetle sammanf referat",
    "classify": "class categ label sentim spam tag sort urgency priority posit negat neutral intent moder topic"
    " emotion polarity toxic sarcas triage bucket klassi einordn einstuf kateg stimm classe clasif classif etiqu"
    " classificare 分类 分類 判断 kategor sınıf  seniority severity entail contradict",
    "extract": "extra pull list find identify locate pick parse retrieve grab mine mentioned entities names dates"
    " emails phone numbers addresses extrahi nenne entnim extrai extraire extrae extraer estrai extraia haal"
    " 抽出 提取 抽取 추출 wypisz извлеки amounts occurrences",
    "rewrite": "rewri rephr reword paraph proofr corre improv polis edit gramm spell tone formal profess simplif"
    " fluen clarit concis reform reescr riscr herschr umform formul umsch korrig verbes korri poprav redact politely"
    " polite friendlier copyedit rédige corrig mejora melhor verbeter 改写 润色 修改"
    " 書き直 添削 przere перепиши исправь",
    "translate": "translat trad tradu tradui traduire traduc traduz traduci überse uebers verta tłuma przet перев перек"
    " çevir översä overs překl transl render french german spanish italian portug japan chinese korean russian polish"
    " dutch arabic hindi swedish turkish englisch englis inglés inglese anglais inglês latin mandarin"
    " 翻译 翻訳 訳し 번역 ترجم अनुवाद engels angielski английский",
    "code": "code python javas types funct bug debug sql query regex java rust golang kotlin swift ruby php bash shell"
    " script class method api compile compi excep stack traceb error unit pytest refac implem algor array loop"
    " variable def html css node django flask docker kubern git npm async endpoint leetcode"
    " recursive datab schema programm funktion fonction función funzione 函数 代码 関数 コード код функц"
    " pandas numpy excel formula vba powershell terraform yaml c++ c# segfa null undefined",
    "maths": "solve calcu compute equat integ deriv prove proof theorem probab triang matrix eigen percent average"
    " speed distance sum fraction polyn logar geomet algebra arithm remainder divisible radius"
    " berechne löse gleich calcul résou résoudre calcula resuelve ecuaci calcola probabil 计算 求 方程 計算 解け"
    " wahrscheinl rechne oblicz вычисли реши riddle puzzle logic deduce syllog combin permut median variance root"
    " angle perimeter hypotenuse twice older mph",
    "question_answering": "what who when where why which how is are does do can should explain describe define differ"
    " was wer wann wo warum wieso wie welche qué quién cuándo dónde cuál cómo qui quand où pourquoi quel quelle"
    " combien comment chi quando dove perché quale come quem quanto wie waar waarom 什么 为什么 谁 哪 何 なぜ 誰"
    " кто что когда почему où cause meaning capital according context passage true false option answer",
    "long_context": "entire whole complete full chapters pages volumes documents archive corpus repository"
    " codebase throughout across hundred thousand attached uploaded gesamte komplette ganze seiten kapitel"
    " intégralité ensemble pages chapitres completo expediente páginas entero intero tutto capitoli 全文 整本 全部",
    "structured_output": "json yaml xml csv table schema format keys fields object array markdown columns header jsonl"
    " template parse valid tabelle tabell tableau tabla tabella felder champs campos claves clés html latex toml ndjson"
    " schlüss spalten colonnes columnas 表格 格式",
    "chat": "hi hey hello thanks thank lol haha morning night bye cheers sup yo wow ok okay cool hallo hola ciao salut"
    " bonjour danke merci gracias grazie obrigado olá moin hej i'm feel feeling sad lonely bored tired happy you're"
    " 你好 こんにちは おはよう 안녕 谢谢 ありがとう привет merhaba selam favourite favorite opinion yourself friend",
    "creative": "story poem write compose imagine invent haiku sonnet song lyrics slogan tagline fiction tale novel"
    " character dialogue screenplay plot brainstorm names limerick rhyme rap verse ad caption speech toast blog"
    " gedicht geschi erfind poème histoire poema cuento historia canción poesia filastr racconto storia verhaal"
    " 诗 故事 物語 詩 小説 стих рассказ сказк wiersz roleplay scene villain fantasy bedtime pitch",
    "tool_use": "book send schedule remind search call open set turn play check create cancel order buy download browse"
    " run deploy execute post reserve invite tool tools function calendar email alarm timer ticket web browser click"
    " buche sende stelle erinnere suche réserve envoie cherche busca envía programa reserva prenota invia cerca"
    " 预订 发送 搜索 予約 送って закажи отправь напомни update upload lights weather invoke agent",
}


def cue_table() -> dict[str, tuple[tuple[str, str], ...]]:
    """First STEM_CHARS letters → the cues that begin so, each with its task; a cue matches words that start with it."""
    table: dict[str, list[tuple[str, str]]] = {}
    for task, words in _CUES.items():
        for word in dict.fromkeys(words.split()):
            table.setdefault(word[:STEM_CHARS], []).append((word, task))
    return {start: tuple(found) for start, found in table.items()}
