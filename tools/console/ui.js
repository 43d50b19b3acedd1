// The one module of the console's framework: Preact, its hooks, signals and htm's templates.
export { h, render, Fragment } from "preact";
export { useCallback, useEffect, useErrorBoundary, useId, useLayoutEffect, useMemo, useRef, useState } from "preact/hooks";
export { batch, computed, effect, signal } from "@preact/signals";
export { html } from "htm/preact";
