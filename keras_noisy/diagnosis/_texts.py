"""Texts as numbers, by NumPy alone: sequences of word ids, and a few coordinates."""

import collections
import re
import zlib

import numpy as np

from keras_noisy._checks.errors import Described, message

WORDS = 20_000
LENGTH = 256
_HASHED = 2048
_COORDINATES = 128
_PIECE = 4096
_WORD = re.compile(r"\w+")


def are_texts(x):
    """Whether `x` is a list or an array of strings."""
    if isinstance(x, (list, tuple)):
        return bool(x) and all(isinstance(value, str) for value in x)
    kind = getattr(getattr(x, "dtype", None), "kind", None)
    if kind == "O" and getattr(x, "ndim", 0) == 1:
        return len(x) > 0 and all(isinstance(value, str) for value in x.tolist())
    return kind in ("U", "T") and getattr(x, "ndim", 0) == 1


def look_like_texts(values):
    """Whether a column of strings is of sentences, and not of categories."""
    words = [value for value in values.tolist() if isinstance(value, str) and value]
    if len(words) < 0.5 * len(values) or not words:
        return False
    mean = np.mean([value.count(" ") + 1 for value in words[:1000]])
    return mean >= 4 and len(set(words)) > 0.5 * len(words)


def check_strings(owner, x):
    """Raise if some of `x` are texts and others are not."""
    is_column = isinstance(x, (list, tuple)) or (
        getattr(getattr(x, "dtype", None), "kind", None) == "O" and len(x.shape) == 1
    )
    if not is_column or not any(isinstance(value, str) for value in x):
        return
    for row, value in enumerate(x):
        if not isinstance(value, str):
            received = Described(f"{value!r} in row {row}")
            mend = "Pass an empty string where there is no text."
            raise TypeError(message(owner, "x", "texts, all strings", received, mend))


class Texts:
    """Texts `(n,)` as what networks and neighbours take.

    Args:
        owner: Name of the public function, for errors.
        texts: Strings.

    Attributes:
        num_words: Number of word ids, 0 for no word, 1 for a rare one, and the last
            one, which stands for a text without words, included.
        is_empty: Which texts have no words, `(n,)`.
        sequences: Ids of the first words of each text, int32 `(n, length)`.
    """

    def __init__(self, owner, texts):
        self._words = [_WORD.findall(text.lower()) for text in texts]
        self._frequency = collections.Counter(
            word for words in self._words for word in set(words)
        )
        known = [w for w, count in self._frequency.most_common(WORDS) if count > 1]
        if not known:
            expected = "texts that have words in common"
            received = Described(f"{len(self._words)} texts without any")
            raise ValueError(message(owner, "x", expected, received))
        self._ids = {word: i + 2 for i, word in enumerate(known)}
        self.num_words = len(known) + 3
        self.is_empty = np.array([not words for words in self._words])
        self._length = min(LENGTH, max(map(len, self._words)))
        self.sequences = self._encoded(self._words)

    def encode(self, texts):
        """Return other texts in the form of `sequences`."""
        return self._encoded([_WORD.findall(text.lower()) for text in texts])

    def forget(self):
        """Drop the texts themselves: what `encode` needs is small."""
        self._words = self._frequency = None

    def _encoded(self, texts):
        sequences = np.zeros((len(texts), self._length), np.int32)
        for row, words in enumerate(texts):
            found = [self._ids.get(word, 1) for word in words[: self._length]]
            sequences[row, : len(found)] = found
            if not words:
                # The mean over no words at all would be NaN.
                sequences[row, 0] = self.num_words - 1
        return sequences

    def coordinates(self):
        """Return the largest principal components of TF-IDF, float32 `(n, d)`.

        Words are hashed into 2048 columns, so that a matrix of them fits in memory
        however many texts and words there are.
        """
        moments = np.zeros((_HASHED, _HASHED))
        for _, part in self._pieces():
            moments += part.T @ part
        # Not centred: most of the matrix is zero.
        _, vectors = np.linalg.eigh(moments)
        vectors = vectors[:, -_COORDINATES:].astype("float32")
        found = np.empty((len(self._words), vectors.shape[1]), "float32")
        for rows, part in self._pieces():
            found[rows] = part @ vectors
        return found

    def _pieces(self):
        """Yield slices of rows, and their hashed TF-IDF of length one."""
        count = len(self._words)
        places = {}
        for word, frequency in self._frequency.items():
            # Python's own hash is another one in each process.
            code = zlib.crc32(word.encode())
            sign = 1 if code >> 31 else -1
            weight = sign * (1 + np.log((1 + count) / (1 + frequency)))
            places[word] = code % _HASHED, weight
        for start in range(0, count, _PIECE):
            texts = self._words[start : start + _PIECE]
            part = np.zeros((len(texts), _HASHED), "float32")
            for row, words in zip(part, texts, strict=True):
                for word, times in collections.Counter(words).items():
                    place, weight = places[word]
                    row[place] += (1 + np.log(times)) * weight
            norms = np.linalg.norm(part, axis=1, keepdims=True)
            yield slice(start, start + len(texts)), part / np.maximum(norms, 1e-12)
