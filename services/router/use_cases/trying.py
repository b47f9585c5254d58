"""A cascade's road: cheap models are asked first, and heard to the end before anybody sees what they say.

What a check accepts is given as it is. Else the strong model's attempt follows, which takes the direct road: its hold
is made in the step that settles the cheap one, and what was held back nobody sees.
"""

from services.router.use_cases.asking import Finished, Say
from services.router.use_cases.attempt import Attempt, answer_of
from services.router.use_cases.cascade import Trials
from services.router.use_cases.steps import Steps
from services.router.use_cases.streaming import started


async def tried(steps: Steps, trials: Trials, attempt: Attempt, say: Say) -> Finished | Attempt:
    """The end of a cheap answer that was accepted, or the attempt with which the direct road begins."""
    while trials.on_trial(attempt):
        events = await attempt.begin(steps.dispatch(attempt))
        ended = await attempt.last_of(events, trials.held)
        answer = answer_of(ended)
        if answer is None:
            attempt = await steps.another(attempt, ended, instead=trials.escalated())
            continue
        settlement = attempt.succeeded(answer)
        next_step = trials.judge(attempt, answer)
        if next_step is not None:
            attempt = await steps.go_on(attempt, settlement, next_step)
            continue
        finished = await steps.finish(attempt, answer, settlement)
        if steps.ask.streamed:
            await say(started(steps, attempt))
            for delta in trials.held:
                await say(delta)
        return finished
    return attempt
