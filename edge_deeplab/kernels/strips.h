/* Rows of a picture shared out among threads: whoever is free takes the next few. */
#ifndef EDGE_DEEPLAB_STRIPS_H
#define EDGE_DEEPLAB_STRIPS_H

/* Works on rows [top, bottom) of what `job` holds; called for every row once, from several threads at a time. */
typedef void (*strip_work)(void *job, int top, int bottom);

/* Calls `work` until all rows are done, at most `step` rows a call, in this thread and up to `threads` - 1 others.
 *
 * The others are started when first needed and sleep in between. One that does not come in time is not waited for:
 * this thread does its share. While another caller has them, this one works alone. Python's lock must not be held.
 */
void in_strips(strip_work work, void *job, int rows, int step, int threads);

#endif
