"""Sentences to synthesise: templates and word lists that together cover every English phone in many contexts.

:func:`make_passage` draws one to three utterances of many kinds: statements, questions, exclamations,
numbers, short replies, lists, dialogue, and lines crowded with the sounds that lips show best (p b m, f v, w,
sh, oo).
"""

from __future__ import annotations

import random


def _choices(text: str) -> tuple[str, ...]:
    """The entries of a text in which they are parted by bars."""
    return tuple(" ".join(entry.split()) for entry in text.split("|"))


_WHO = _choices(
    """
    the old captain | my younger sister | a quiet teacher | every neighbour | that strange machine | our
    best friend | nobody here | the baker | your brother | a group of children | the woman in blue |
    Doctor Morgan | my grandmother | the whole village | both of the pilots | Benjamin | Abigail | the
    famous violinist | some people | an honest judge | the museum guide | a thousand birds | George and
    Vivian | the mayor | whoever wrote this | the chef | a lazy fox
    """
)
_DOES = _choices(
    """
    will never believe | has always loved | suddenly forgot | wants to explain | could not find | promised
    to bring | keeps talking about | finally opened | would rather avoid | happily remembered | should
    have mentioned | is looking for | just bought | might have broken | used to draw | carefully measured
    | pushed away | threw out | watched | is afraid of | simply adores | has to choose | thought about |
    washed | gave away | was dreaming of | refused to pay for | moved
    """
)
_WHAT = _choices(
    """
    the purple umbrella | a brand new bicycle | those famous mountain paths | the biggest apple pie in the
    village | seven broken windows | my favourite movie | the bus to Vienna | a thousand tiny problems |
    both of the boats | that beautiful voice | a bowl of mushroom soup | the warm woollen gloves | an
    orange balloon | every single photograph | the measure of pleasure | a box of fresh figs | the
    southern harbour | his father's leather jacket | cheap jewellery | five thick feather pillows | the
    truth about Pamela | a bag of sugar | all the usual excuses | the moon above the pub | strange noises
    in the basement | the wooden bridge | our shared vision | a very good book | the boy's toy | vague
    rumours
    """
)
_WHEN = _choices(
    """
    before the summer ends | because people were watching | while the music played | and everybody laughed
    | but we both know why | for the first time | on a foggy Wednesday morning | without a word | in the
    middle of the night | as soon as the rain stops | at half past four | whenever he visits | until the
    very last moment | if you ask me | near the old oak tree | just to be sure | with enormous joy |
    although it hurts | once in a while | under the blue sky
    """
)
_ASK = _choices(
    """
    how do you usually {verb} {what} | why would {who} {verb} {what} | where did you put {what} | have you
    ever seen {what} | could we {verb} {what} together | what makes you think that {who} would {verb}
    {what} | is this {what} | do you mean {what}, or {what} | who gave you {what} | when will {who} come
    home | shall I show you {what}
    """
)
_VERB = _choices(
    """
    measure | buy | forget | improve | paint | move | choose | follow | describe | throw | bring | watch |
    share | avoid | push | change | believe | open | enjoy | catch | join | weigh | fix | wash | view
    """
)
_EXCLAIM = _choices(
    """
    What a wonderful surprise! | Oh no, not again! | Look out, it's falling! | I can't believe you did
    that! | How absolutely marvellous! | Stop pushing me! | You must be joking! | Wow, that's beautiful! |
    Help me, please! | We won, we actually won! | Leave me alone! | Hooray for the bride and groom! |
    That's disgusting, take it away! | Shame on you! | Bravo, bravo! | Happy birthday to you both! | Watch
    your step! | Move over, I'm in a hurry! | Oh boy, here we go! | That was fabulous! | Give it back
    right now! | Whoa, who are you?
    """
)
_REPLY = _choices(
    """
    Yes. | No. | Maybe. | Of course. | I suppose so. | Perhaps not. | Absolutely. | Thank you very much. |
    You're welcome. | Never mind. | Hm, I see. | Good morning. | Bye bye. | Sure, why not? | Pardon me? |
    Me too. | Who, me? | Fair enough. | Oops. | Amen. | Above all. | By Friday. | Five, maybe six. | Why?
    | Really? | Boom. | My mum. | Papa.
    """
)
_LIPS = _choices(
    """
    Peter Piper picked a peck of pickled peppers. | Bob's big black bear baked bread by the bay. | Mama
    made me mash my M and M's. | Five fine fellows found forty-five foxes. | Very vivid violets vanish in
    the valley. | We were away a year ago, while you wove wool. | She sells sea shells by the sea shore. |
    How much wood would a woodchuck chuck? | Whose blue shoes do you choose to use? | Buy Bobby a puppy
    before my birthday party. | The plump baby bumped the lamp and jumped. | Popcorn, bubble gum, maple
    syrup, jam. | Open the pod bay, move the beam, stop. | Go slow over the road, Joe, no snow tomorrow. |
    Oil boils in the noisy boy's toy. | Each cheap cheese needs three clean green leaves. | Father's car
    is parked far from the harbour. | Thirty-three thieves thought they thrilled the throne. | These
    brothers breathe smoothly together. | Measure the treasure with leisure, a vision of beige. | Charge
    the large orange bridge with jam and cheese. | Red lorry, yellow lorry, really rural roads. | Young
    yellow yachts use unique yarn. | The quick brown fox jumps over the lazy dog. | Pack my box with five
    dozen liquor jugs. | That quick beige fox jumped in the air over each thin dog. | Look out, I shout,
    for he's foiled you again. | Singing along, the young king longs for strong evening songs. | Hey, who
    has the whole hot ham? | Cool food soon proved too good for the goose. | Earth's first girl heard the
    bird's words. | A bad cat sat on a flat black hat, sad and mad. | Ten men sent pens to the best
    western desk.
    """
)
_FRAME = _choices(
    """
    I told you that {a}. | {a}, and {b}. | {a}, but {b}. | If {a}, then {b}. | You know, {a}. | Honestly,
    I think {a}. | {a}; however, {b}. | So, {a}. Anyway, {b}. | Well, {a}, doesn't it? | They say {a}...
    I'm not so sure. | First of all, {a}. Second, {b}. | It seems that {a}, which is odd. | “{a},” she
    whispered. | Please remember: {a}. | Imagine that {a}! | To be fair, {a}. | Between you and me, {a}. |
    Hello, my name is {name}, and {a}. | Listen, {name}, {a}. | {name} said: “{a}.”
    """
)
_NAME = _choices(
    """
    Emma | Oliver | Joyce | Zachary | Thelma | Hugo | Phoebe | Mabel | Boris | Ivy | Walter | Yuna |
    Charlie | Jasmine | Quentin | Ruth | Shaun | Beth | Pavel | Giovanni | Lucy | Vera | Noah | Fay |
    Mitch | Bob | Pam
    """
)
_OTHER_LANGUAGES: dict[str, tuple[str, ...]] = {
    "es": (
        "Buenos días, me llamo Pablo y vivo muy cerca del puerto viejo.",
        "¿Puedes abrir la ventana? Hace mucho calor en esta habitación.",
        "Mi abuela prepara siempre una sopa maravillosa los domingos.",
        "El perro blanco corrió por la playa hasta que salió la luna.",
        "¡Qué sorpresa tan bonita! Nunca pensé que vendrías a verme.",
        "Primero bebemos un vaso de agua y después hablamos del viaje.",
        "No me gusta la lluvia, pero me encanta el olor del campo mojado.",
        "Doscientas ochenta y cinco personas firmaron el documento ayer.",
    ),
    "it": (
        "Buongiorno a tutti, oggi parliamo di musica e di vecchie barche.",
        "Mia sorella abita vicino al mare, in una piccola casa bianca.",
        "Non capisco perché vogliono partire prima della fine della festa.",
        "Che meraviglia! Il pane appena sfornato profuma tutta la strada.",
        "Quanto costano le mele, e quando apre il mercato di piazza?",
        "Gli amici di Giovanni giocano sempre a pallone dopo la scuola.",
        "Prima bevo un caffè, poi chiamo la mamma e vado al lavoro.",
        "Settecentoventi famiglie aspettano ancora una buona risposta.",
    ),
    "fr-fr": (
        "Bonjour à tous, je m'appelle Paul et j'habite au bord de la mer.",
        "Pourquoi veux-tu partir avant la fin du spectacle ?",
        "Ma grand-mère prépare une bonne soupe aux champignons.",
        "Quelle belle surprise ! Je ne pensais pas te voir aujourd'hui.",
        "Un petit oiseau bleu chante dans le jardin du voisin.",
        "Il faut vraiment que nous parlions de ce voyage au Brésil.",
        "Trois cent quarante-huit bateaux attendent dans le vieux port.",
        "Je voudrais du pain, un peu de beurre et beaucoup de fromage.",
    ),
    "pt-br": (
        "Bom dia, meu nome é Pedro e moro perto da praia.",
        "Por que você não abre a janela para ver a lua?",
        "Minha avó sempre faz um bolo maravilhoso de banana.",
        "Que surpresa boa! Eu não sabia que vocês vinham hoje.",
        "O barco branco passou devagar por baixo da ponte velha.",
        "Primeiro bebemos água e depois falamos sobre a viagem.",
        "Quatrocentas e cinquenta pessoas compraram o bilhete ontem.",
        "Os filhos do vizinho jogam bola na rua todos os dias.",
    ),
    "hi": (
        "नमस्ते, मेरा नाम मीरा है और मैं पुणे में रहती हूँ।",
        "क्या आप कल सुबह बाज़ार जाएँगे?",
        "मेरी माँ बहुत अच्छा खाना बनाती हैं।",
        "आज मौसम बहुत सुहाना है, चलो बाहर घूमते हैं।",
        "भाई, मुझे एक बड़ा कप चाय और थोड़ा पानी चाहिए।",
        "पिछले महीने पचास लोग इस गाँव में आए थे।",
        "अरे वाह, यह तो बहुत बढ़िया बात है!",
        "बच्चे बाग़ में फूल और पत्ते बटोर रहे हैं।",
    ),
}
LANGUAGES = tuple(_OTHER_LANGUAGES)


def _fill(template: str, rng: random.Random) -> str:
    """Replace each {word} of a template by a fresh draw."""
    lists = {"who": _WHO, "what": _WHAT, "verb": _VERB, "name": _NAME}
    while "{" in template:
        start, end = template.index("{"), template.index("}")
        key = template[start + 1 : end]
        word = _clause(rng) if key in ("a", "b") else rng.choice(lists[key])
        template = template[:start] + word + template[end + 1 :]
    return template[0].upper() + template[1:]


def _clause(rng: random.Random) -> str:
    parts = [rng.choice(_WHO), rng.choice(_DOES), rng.choice(_WHAT)]
    if rng.random() < 0.45:
        parts.append(rng.choice(_WHEN))
    return " ".join(parts)


def _question(rng: random.Random) -> str:
    return _fill(rng.choice(_ASK), rng) + "?"


def _statement(rng: random.Random) -> str:
    return _fill(rng.choice(_FRAME), rng) if rng.random() < 0.6 else _clause(rng).capitalize() + "."


def _numbers(rng: random.Random) -> str:
    return rng.choice(
        (
            f"My number is {rng.randint(100, 999)}, {rng.randint(10, 99)}, {rng.randint(10, 99)}.",
            f"In {rng.randint(1500, 2050)}, about {rng.randint(3, 990)} people moved to the valley.",
            f"It costs {rng.randint(2, 99)} dollars and {rng.randint(1, 99)} cents.",
            f"Page {rng.randint(1, 400)}, line {rng.randint(1, 60)}, {rng.randint(2, 12)} errors.",
            "Count with me: " + ", ".join(map(str, range(rng.randint(1, 4), rng.randint(6, 9)))) + ".",
            f"The train leaves at {rng.randint(1, 12)}:{rng.randint(10, 59)}, from platform {rng.randint(1, 20)}.",
        )
    )


def _list(rng: random.Random) -> str:
    items = rng.sample(_WHAT, 3)
    return f"We need {items[0]}, {items[1]}, and {items[2]}."


def make_utterance(rng: random.Random) -> str:
    """One English utterance of a random kind."""
    draw = rng.random()
    for limit, make in ((0.46, _statement), (0.62, _question), (0.70, _numbers), (0.75, _list)):
        if draw < limit:
            return make(rng)
    return rng.choice(_LIPS if draw < 0.88 else _EXCLAIM if draw < 0.96 else _REPLY)


def make_passage(rng: random.Random, language: str = "en-us") -> list[str]:
    """One to three utterances for one clip of about 3 to 10 s.

    Args:
        rng: source of all choices.
        language: an English code (``en-us``, ``en-gb``) or one of :data:`LANGUAGES`.
    """
    if language in _OTHER_LANGUAGES:
        return rng.sample(_OTHER_LANGUAGES[language], rng.choice((1, 1, 2)))
    passage: list[str] = []
    wanted = rng.choice((45, 60, 80, 100, 120))
    while sum(map(len, passage)) < wanted and len(passage) < 3:
        utterance = make_utterance(rng)
        if sum(map(len, passage)) + len(utterance) < 150:
            passage.append(utterance)
    return passage
