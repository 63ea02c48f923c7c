"""Words and phrases of the text head's training data, written for this project."""

from __future__ import annotations


def _list(text: str) -> tuple[str, ...]:
    """Phrases separated by semicolons."""
    return tuple(phrase for part in text.split(";") if (phrase := " ".join(part.split())))


ADJECTIVES: dict[str, tuple[str, ...]] = {
    "happy": _list("""
        happy; joyful; cheerful; delighted; glad; merry; gleeful; elated; ecstatic; excited; content; pleased;
        jolly; blissful; amused; overjoyed; radiant; giddy; playful; grateful; euphoric; jubilant; satisfied;
        beaming; smiling; laughing; sunny; optimistic; proud; in love; exhilarated; charmed; tickled pink; on
        cloud nine; over the moon
    """),
    "sad": _list("""
        sad; unhappy; sorrowful; gloomy; miserable; depressed; downcast; dejected; tearful; mournful; grieving;
        blue; hopeless; lonely; disappointed; despairing; desolate; wistful; weepy; glum; forlorn; hurt; broken;
        dispirited; discouraged; regretful; bereaved; inconsolable; down in the dumps; crying; despondent; moody
        and low; wounded
    """),
    "angry": _list("""
        angry; furious; enraged; mad; irritated; annoyed; outraged; livid; cross; fuming; hostile; aggressive;
        resentful; indignant; wrathful; bitter; exasperated; infuriated; seething; frustrated; heated; vengeful;
        raging; offended; hot-tempered; incensed; grumpy; cranky; fed up; hopping mad; threatening; fierce
    """),
    "disgusted": _list("""
        disgusted; revolted; repulsed; sickened; nauseated; repelled; queasy; appalled by the smell; put off;
        grossed out; squeamish; turned off; full of loathing; put off by the taste; about to vomit; about to
        throw up
    """),
    "fearful": _list("""
        afraid; scared; frightened; terrified; fearful; anxious; nervous; worried; panicked; petrified;
        horrified; alarmed; timid; uneasy; apprehensive; spooked; startled and scared; threatened; tense with
        fear; worried sick; freaked out; intimidated; scared to death; panicky; jittery; frozen with fear
    """),
    "surprised": _list("""
        surprised; astonished; amazed; astounded; stunned; startled; shocked; speechless; dumbfounded; taken
        aback; bewildered; thunderstruck; staggered; wonderstruck; blown away; caught off guard; perplexed;
        incredulous; open-mouthed; dumbstruck
    """),
}
NOUNS: dict[str, tuple[str, ...]] = {
    "happy": _list("""
        happiness; joy; delight; glee; bliss; amusement; pleasure; cheer; elation; excitement; laughter; pride
    """),
    "sad": _list("""
        sadness; sorrow; grief; misery; despair; gloom; heartache; loneliness; disappointment; regret; tears
    """),
    "angry": _list("""
        anger; rage; fury; irritation; wrath; indignation; annoyance; resentment; outrage; hostility; temper
    """),
    "disgusted": _list("disgust; revulsion; repulsion; nausea; aversion; distaste; loathing; repugnance"),
    "fearful": _list("fear; terror; fright; dread; panic; anxiety; horror; alarm; worry; nervousness; apprehension"),
    "surprised": _list("surprise; astonishment; amazement; disbelief; bewilderment; shock; wonder; incredulity"),
}
EXPRESSIONS: dict[str, tuple[str, ...]] = {
    "happy": _list("""
        smiling; smiling broadly; grinning; grinning from ear to ear; laughing out loud; chuckling; giggling;
        beaming; with a bright smile; with a warm smile; with a shy smile; with a gentle smile; with a big grin;
        bursting with joy; with sparkling eyes; dancing around; humming a tune; trying not to laugh; a faint
        smile; a smile; a shy smile; clapping hands with delight; cheering; hugging everyone; smirking
        cheerfully
    """),
    "sad": _list("""
        crying; weeping; sobbing; in tears; with tears in the eyes; close to tears; holding back the tears;
        sighing; with a trembling chin; frowning sadly; looking down; with a heavy heart; with corners of the
        mouth turned down; about to cry; sniffling; fighting tears; pouting; with a broken voice; hanging the
        head; missing someone dearly
    """),
    "angry": _list("""
        shouting; yelling; glaring; scowling; gritting the teeth; clenching the fists; with a furrowed brow;
        frowning angrily; growling; snarling; with narrowed eyes; slamming the door; red with rage; boiling
        inside; cursing; losing the temper; arguing loudly; snapping at everyone; ranting; staring daggers; with
        blood boiling; exploding
    """),
    "disgusted": _list("""
        wrinkling the nose; gagging; retching; turning away in disgust; sticking out the tongue; curling the
        upper lip; grimacing at the taste; spitting it out; making a yuck face; smelling something foul; saying
        ew; holding the nose; backing away from the filth; pushing the plate away; feeling sick to the stomach;
        shuddering with revulsion
    """),
    "fearful": _list("""
        trembling; shaking with fear; cowering; hiding; biting the nails; screaming for help; with a shaky
        voice; sweating nervously; shivering; looking over the shoulder; backing away from the danger; holding
        the breath in fear; running for life; hiding under the bed; stammering nervously; with knees knocking;
        pale with fright; whispering anxiously
    """),
    "surprised": _list("""
        gasping; with raised eyebrows; with the mouth open; with a dropped jaw; with wide open eyes; blinking in
        disbelief; saying wow; saying oh my god; jumping up in surprise; doing a double take; staring in
        amazement; whoa; unable to believe it; lost for words; eyebrows shooting up; turning to surprise;
        speechless with wonder; rubbing the eyes
    """),
}
SITUATIONS: dict[str, tuple[str, ...]] = {
    "happy": _list("""
        she has won the lottery; the baby is healthy; she opens a present; he meets his best friend again; she
        got the job; the team has won the cup; the holidays begin; the sun comes out; they are getting married;
        he passed the exam; she eats the best ice cream; the dog greets her at the door; the children play in
        the garden; they celebrate the birthday; she hears a good joke; he is in love; the concert was
        wonderful; her wish came true; we did it; he gets to see the sea for the first time; a warm bath after a
        long day; dinner was delicious
    """),
    "sad": _list("""
        her cat has died; he lost his father; they broke up; nobody came to the party; she did not get the job;
        he has to say goodbye; the house burned down; she misses her home; he is all alone; the team has lost;
        he failed the exam; his best friend moves away; she remembers her late mother; he is left behind; her
        dreams are shattered; it is the last day together; she reads the bad news; the letter never came; he
        watches the rain and thinks of her; at the grave of a friend
    """),
    "angry": _list("""
        somebody stole his car; the neighbour is loud again; she was lied to; he was cheated; someone cut the
        line; the train is late again; they insulted her; he was fired unfairly; the internet is down again;
        they broke his window; her brother ruined the dress; the waiter was rude; he argues with the boss;
        somebody scratched the car; they keep interrupting her; the referee is blind; he yells at the driver;
        she tells him off; they will pay for this
    """),
    "disgusted": _list("""
        the milk is mouldy; there is a worm in the apple; she steps into dog dirt; the toilet is filthy; he
        smells garbage; she bites into a rotten egg; the food is full of maggots; he finds a cockroach in the
        salad; it smells like vomit; somebody sneezes on her plate; the socks stink; she sees an open wound; the
        meat has gone bad; it tastes vile; there is slime everywhere; he drinks spoiled milk; a dead rat lies on
        the floor
    """),
    "fearful": _list("""
        there is a snake in the bed; somebody follows her at night; the plane is about to crash; a bear comes
        closer; he hears a noise in the dark; a stranger stands in the house; the ice is breaking; she stands at
        the edge of a cliff; the ghost appears; he sees a spider; the dentist gets the drill; the war is coming;
        the lift is falling; she waits for the diagnosis; a shark swims below; the killer is in the room; he is
        trapped in a burning house; the exam starts in a minute and she knows nothing
    """),
    "surprised": _list("""
        a rabbit comes out of the hat; she did not expect that; he sees a ghost of his past; it came out of
        nowhere; she learns that she is a princess; the dead man walks in; it snows in July; he finds a
        treasure; the dog can talk; who would have thought that; the price is a tenth of that; she meets her
        idol in the shop; the lights suddenly go on; the elephant is in the kitchen; the answer is completely
        different; something unbelievable happens
    """),
}
COMPOUND_PHRASES: dict[str, tuple[str, ...]] = {
    "happily_surprised": _list("""
        happily surprised; pleasantly surprised; joyfully astonished; a surprise party for her; a wonderful
        surprise; delighted by an unexpected gift; he proposes to her and she did not expect it; wow, what a
        lovely present
    """),
    "happily_disgusted": _list("""
        happily disgusted; laughing at something gross; amused and grossed out; a disgusting joke
    """),
    "sadly_fearful": _list("""
        sadly fearful; sad and afraid; grieving and scared; afraid to lose her; tearful with worry
    """),
    "sadly_angry": _list("""
        sadly angry; sad and angry; hurt and furious; bitter tears; crying with rage; sulking; betrayed
    """),
    "sadly_surprised": _list("sadly surprised; shocked by the sad news; stunned by grief; he learns that she has died"),
    "sadly_disgusted": _list("sadly disgusted; sad and disgusted; mournful revulsion; dismayed and sickened"),
    "fearfully_angry": _list("""
        fearfully angry; afraid and angry; scared and furious; defending herself from an attacker
    """),
    "fearfully_surprised": _list("""
        fearfully surprised; scared by a sudden noise; a shock in the dark; startled by a stranger; a jump
        scare; aghast
    """),
    "fearfully_disgusted": _list("fearfully disgusted; scared and disgusted; horrified by a giant spider; creeped out"),
    "angrily_surprised": _list("""
        angrily surprised; angry and surprised; what, how dare you; outraged by the sudden bill
    """),
    "angrily_disgusted": _list("angrily disgusted; angry and disgusted; fed up and sickened; furious about the filth"),
    "disgustedly_surprised": _list("""
        disgustedly surprised; surprised and disgusted; ew, what is that; finding a hair in the food; shocked by
        the smell
    """),
    "appalled": _list("appalled; appalled at such cruelty; shocked and revolted by what they did; morally disgusted"),
    "hatred": _list("hatred; hateful; full of hate; seething with hatred; I hate you; despising him; pure hatred"),
    "awed": _list("""
        awed; in awe; awestruck; full of reverent wonder; humbled by the huge cathedral; overwhelmed by nature
    """),
}
NEUTRAL_PHRASES: tuple[str, ...] = _list("""
    neutral; calm; a calm face; no emotion; without any emotion; emotionless; expressionless; a poker face; a
    blank face; relaxed; composed; a neutral expression; impassive; serious and calm; matter-of-fact; sober;
    unmoved; indifferent; reading the news; a news anchor; speaking calmly; a plain face; deadpan; a resting
    face; keep a straight face; stoic; she is calm; he shows no feelings; nothing special in the face; a quiet,
    even voice; at rest; unemotional; peaceful; not happy and not sad; neither happy nor sad; no smile; a
    passport photo; businesslike; factual tone; speak normally; tranquil; serene; reads a manual aloud;
    explaining the schedule calmly; a relaxed conversation; a balanced mood; he reads the list of names evenly;
    with a still face; even-tempered; giving plain directions; cool and collected; a professional tone; just
    talking; neutral face; look normal; do not show any emotion; a lecture on statistics
""")
NOTHING_PHRASES: tuple[str, ...] = _list("""
    the car is red; a house with a garden; two plus two is four; the train leaves at nine; click on the button
    to save; the capital of France is Paris; install the package and restart; a table with four legs; for i in
    range(10); blue; the file could not be found; water boils at a hundred degrees; 12345; hello; test; lorem
    ipsum dolor sit amet; the meeting is on Monday; the street is long; a cup of coffee; the printer is out of
    paper; to be or not to be; brown hair; http colon slash slash; select all from table; buy milk and bread;
    turn left at the corner; the moon orbits the earth; the novel has three hundred pages; glasses and a beard;
    wearing a blue shirt; high resolution photo; 4k, detailed; oil painting; a portrait of a man; a portrait of
    a woman; a mountain landscape; the river flows to the sea; ok; a b c; please say the sentence; make a video;
    the weather report; how many litres in a gallon; the engine has six cylinders; the parliament passed the
    law; add two eggs and stir; save as png; the box weighs ten kilos; a chair; some text; foo bar; the number
    of the flight is 42; the building was finished in 1920; translate this into French; what time is it; the
    roof is flat; multiply by three; the shop opens at eight; open the window; the cable is two metres long; a
    green door; paint it white; the bridge has two lanes; measure the length; the data set has ten columns;
    quantum mechanics; x equals y
""")
NOTHING_WORDS: tuple[str, ...] = _list("""
    table; chair; seven; carrot; hammer; velocity; window; cloud; pencil; engine; triangle; copper; bicycle;
    lamp; river; eleven; parliament; orange; screw; matrix; vector; algebra; potato; metre; printer; keyboard;
    asphalt; granite; paper; bottle; roof; spoon; cable; theorem; purple; diagonal; hydrogen; market; tractor;
    spectrum; ladder; button; invoice; and; of; the; with; under; between; forty; nine; rectangular; wooden;
    metallic; sideways; quarterly; digital; green
""")
