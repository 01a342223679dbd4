"""Chapter 16, notebook 2: the known mistakes of `metaclip_balance`."""

import re


def match_with_mistake(mistake, text, metadata):
    signs, blanks = r"([,.;:?!`])", r"[\t\n\r]"
    spaced = text.lower() if mistake in ("case", "text in small letters") else text
    if mistake == "more signs":
        signs = r"""([,.;:?!`"'()-])"""
    if mistake == "no back-tick":
        signs = r"([,.;:?!])"
    if mistake != "signs stay":
        spaced = re.sub(signs, {"signs go": "", "signs to spaces": " "}.get(mistake, r" \1 "), spaced)
    if mistake != "tabs stay":
        spaced = re.sub(blanks, " ", spaced)
    if mistake != "no ends":
        spaced = f" {spaced} "
    if mistake == "substring":
        return [i for i, entry in enumerate(metadata) if entry in text]
    if mistake == "words":
        return [i for i, entry in enumerate(metadata) if entry in spaced.split()]
    if mistake == "doubles":
        return [i for i, entry in enumerate(metadata) for _ in range(spaced.count(f" {entry} "))]
    if mistake == "one blank":
        spaced = f" {' '.join(spaced.split())} "
    lowered = [entry.lower() for entry in metadata] if mistake == "case" else metadata
    return [i for i, entry in enumerate(lowered) if f" {entry} " in spaced]


def match_entries__substring(text, metadata):
    return match_with_mistake("substring", text, metadata)


def match_entries__words(text, metadata):
    return match_with_mistake("words", text, metadata)


def match_entries__no_ends(text, metadata):
    return match_with_mistake("no ends", text, metadata)


def match_entries__case(text, metadata):
    return match_with_mistake("case", text, metadata)


def match_entries__signs_stay(text, metadata):
    return match_with_mistake("signs stay", text, metadata)


def match_entries__tabs_stay(text, metadata):
    return match_with_mistake("tabs stay", text, metadata)


def match_entries__small_letters(text, metadata):
    return match_with_mistake("text in small letters", text, metadata)


def match_entries__more_signs(text, metadata):
    return match_with_mistake("more signs", text, metadata)


def match_entries__no_back_tick(text, metadata):
    return match_with_mistake("no back-tick", text, metadata)


def match_entries__signs_go(text, metadata):
    return match_with_mistake("signs go", text, metadata)


def match_entries__signs_to_spaces(text, metadata):
    return match_with_mistake("signs to spaces", text, metadata)


def match_entries__doubles(text, metadata):
    return match_with_mistake("doubles", text, metadata)


def match_entries__one_blank(text, metadata):
    return match_with_mistake("one blank", text, metadata)


def balance_with_mistake(mistake, matches, n_entries, t, u):
    counts = [0] * n_entries
    for entries in matches if mistake != "running" else []:
        for entry in entries:
            counts[entry] += 1

    def p(entry):
        return t / len(matches) if mistake == "of all texts" else t / max(counts[entry], t)

    quantifier = all if mistake in ("all entries", "all of some") else any
    kept = []
    for entries, draws in zip(matches, u):
        if mistake == "first entry":
            entries, draws = entries[:1], draws[:1]
        if mistake == "one number":
            draws = draws[:1] * len(entries)
        for entry in entries if mistake == "running" else []:
            counts[entry] += 1
        if mistake == "turned":
            kept.append(any(draw > p(entry) for entry, draw in zip(entries, draws)))
        elif mistake == "empty stays" and not entries:
            kept.append(True)
        elif mistake == "all of some" and not entries:
            kept.append(False)
        elif mistake == "equal counts":
            kept.append(any(draw <= p(entry) for entry, draw in zip(entries, draws)))
        else:
            kept.append(quantifier([draw < p(entry) for entry, draw in zip(entries, draws)]))
    return kept


def balance__divides_infinity(matches, n_entries, t, u):
    return balance_with_mistake("divides infinity", matches, n_entries, t, u)


def balance__all_entries(matches, n_entries, t, u):
    return balance_with_mistake("all entries", matches, n_entries, t, u)


def balance__all_of_some(matches, n_entries, t, u):
    return balance_with_mistake("all of some", matches, n_entries, t, u)


def balance__empty_stays(matches, n_entries, t, u):
    return balance_with_mistake("empty stays", matches, n_entries, t, u)


def balance__turned(matches, n_entries, t, u):
    return balance_with_mistake("turned", matches, n_entries, t, u)


def balance__running(matches, n_entries, t, u):
    return balance_with_mistake("running", matches, n_entries, t, u)


def balance__one_number(matches, n_entries, t, u):
    return balance_with_mistake("one number", matches, n_entries, t, u)


def balance__of_all_texts(matches, n_entries, t, u):
    return balance_with_mistake("of all texts", matches, n_entries, t, u)


def balance__first_entry(matches, n_entries, t, u):
    return balance_with_mistake("first entry", matches, n_entries, t, u)


def balance__equal_counts(matches, n_entries, t, u):
    return balance_with_mistake("equal counts", matches, n_entries, t, u)
