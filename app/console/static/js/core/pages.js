// The pages of a list, of which the one that is open is part of the link.

import { useState } from "../../vendor/ui.js";
import { change, route } from "./route.js";

/**
 * `name`: the link's parameter, "3.CURSOR" for the third page; none for the first.
 *
 * Returns the open page's `cursor` (null for the first) and `number`, and functions that open the
 * `next` page and go `back`: to the page before, or to the first one where a link was followed.
 */
export function usePages(name) {
  const { cursor, number } = read(route.value.params[name]);
  const [known, setKnown] = useState([]); // the pages before, as far as this visitor came past them
  const before = known.slice(0, number - 1);
  const isKnown = before.length === number - 1;
  const open = (to, at) => change({ [name]: at === null ? null : `${to}.${at}` });
  return {
    cursor,
    number,
    isFirst: number === 1,
    leadsToFirst: number > 2 && !isKnown,
    next: (at) => {
      setKnown(isKnown ? [...before, cursor] : []);
      open(number + 1, at);
    },
    back: () => (isKnown ? open(number - 1, before[number - 2]) : open(1, null)),
  };
}

function read(text) {
  const [, number, cursor] = /^([1-9]\d{0,6})\.(.+)$/s.exec(text ?? "") ?? [];
  return cursor === undefined ? { cursor: null, number: 1 } : { cursor, number: Number(number) };
}
