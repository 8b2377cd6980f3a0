/** Words as Markdown that shows them, with line feeds and without other control characters. */
export declare function escape(words: string): string;
/** Words of Markdown that `escape` wrote; Markdown of others stays as it is. */
export declare function unescape(markdown: string): string;
