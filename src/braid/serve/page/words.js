// The words of a text, as the server divides it where it is not told: see `split_words` of braid.data.units.

// Characters that are written without spaces between words.
const CJK =
  "\\u2e80-\\u2fdf\\u3001-\\u30ff\\u3100-\\u312f\\u31a0-\\u31bf\\u31c0-\\u31ff\\u3200-\\u4dbf\\u4e00-\\u9fff" +
  "\\uf900-\\ufaff\\ufe30-\\ufe4f\\uff01-\\uff60\\uffe0-\\uffe6\\uff61-\\uff9f" +
  "\\u{1b000}-\\u{1b16f}\\u{20000}-\\u{3ffff}";
const MARK = "[\\p{M}\\u{1f3fb}-\\u{1f3ff}]";
const LETTER = `(?![${CJK}])[\\p{L}\\p{N}]`;
// Python and JavaScript differ in what is a space.
const SIGN = "(?:[^\\s\\x1c-\\x1f\\x85]|\\ufeff)";
const WORD = new RegExp(
  `[${CJK}]${MARK}*` +
    `|(?:${LETTER}(?:${MARK}|[\\u200c\\u200d])*)+` +
    `|${SIGN}${MARK}*(?:\\u200d[^\\p{L}\\p{N}_\\s]${MARK}*)*`,
  "gu",
);

/** Every CJK character, every run of letters and digits of other scripts, every other sign. */
export const wordsOf = (text) => text.match(WORD) ?? [];
