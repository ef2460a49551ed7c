/* The guided filter of compositing/upsampling.py, from a network's matte to alpha at the picture's resolution.
 *
 * Three passes, each shared out by rows: the matte at the coefficients' size, the linear model of every window there,
 * and the means of those models applied to the picture. Sums over windows are of integers and therefore exact: the
 * guide's levels less GRAY, and the matte in TARGET_STEPS.
 */
#include "arrays.h"
#include "enlarging.h"
#include "strips.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

enum {
    GRAY = 128,
    TARGET_STEPS = 1 << 14,
    LEAST_CHANGE = TARGET_STEPS / 1024, /* upsampling.LEAST_CHANGE */
    MOST_RADIUS = 15,                   /* 31 * 31 cells of GRAY * TARGET_STEPS are the most an int32 holds */
    WHOLE_SHARE = 1 << 15,
    TARGET_ROWS = 16,
    MODEL_ROWS = 15,
    PICTURE_ROWS = 48,
};

/* What is summed over a window: blue, green, red, target, and their products. */
enum { B, G, R, T, BB, BG, BR, GG, GR, RR, BT, GT, RT, SUMS };
static const uint8_t factors[SUMS][2] = {[BB] = {B, B}, [BG] = {B, G}, [BR] = {B, R}, [GG] = {G, G}, [GR] = {G, R},
                                         [RR] = {R, R}, [BT] = {B, T}, [GT] = {G, T}, [RT] = {R, T}};
enum { PLANES = 4 }; /* of a model: three slopes and an offset, for a guide less GRAY */

typedef struct {
    Array matte, low, high, curve, models, levels;
    int radius, threads;
    float epsilon, contrast;
    int height, width;                      /* of the coefficients */
    int32_t *target;                        /* (height, width), in TARGET_STEPS */
    uint8_t *low_levels, *is_needed;        /* (height, width): under the curve; whether a pixel there is drawn */
    Between *matte_rows, *matte_columns;    /* coefficients in the matte */
    Between *rows, *columns;                /* the picture in the coefficients */
    float *shares;                          /* of columns, 0..1 */
    int *starts;                            /* the first column of the picture of each cell, and its width at the end */
    float empty_below, full_from;           /* values that the curve makes what it makes of 0, and of 1 */
    int top, bottom, left, right;           /* where means are needed: rows and columns of coefficients */
    atomic_int lacks_memory;
} Guided;

INLINED int smaller(int one, int other) { return one < other ? one : other; }
INLINED int larger(int one, int other) { return one > other ? one : other; }

/* As cv2.BORDER_REFLECT: the border's own cell comes twice. */
INLINED int reflected(int at, int size)
{
    while (at < 0 || at >= size)
        at = at < 0 ? -1 - at : 2 * size - 1 - at;
    return at;
}

/* ---- the matte at the coefficients' size ---- */

static void target_rows(void *job, int top, int bottom)
{
    Guided *guided = job;
    const Between *columns = guided->matte_columns;
    const uint8_t *curve = guided->curve.data;
    const float contrast = guided->contrast, offset = 0.5f - 0.5f * contrast;
    for (int y = top; y < bottom; y++) {
        Between place = guided->matte_rows[y];
        const float *above = row_of(&guided->matte, place.first);
        const float *below = place.share ? row_of(&guided->matte, place.first + 1) : above;
        float lower = (float)place.share / WHOLE_SHARE;
        int32_t *target = guided->target + (size_t)y * guided->width;
        uint8_t *levels = guided->low_levels + (size_t)y * guided->width;
        for (int x = 0; x < guided->width; x++) {
            int here = columns[x].first, next = here + (columns[x].share > 0);
            float share = (float)columns[x].share / WHOLE_SHARE;
            float one = above[here] + (above[next] - above[here]) * share;
            float other = below[here] + (below[next] - below[here]) * share;
            float value = (one + (other - one) * lower) * contrast + offset;
            value = value > 0.0f ? value : 0.0f; /* a value that is no number becomes 0 */
            value = value < 1.0f ? value : 1.0f;
            target[x] = (int32_t)(value * TARGET_STEPS + 0.5f);
            levels[x] = curve[(int)(value * 255.0f + 0.5f)];
        }
    }
}

/* into[x] |= any of from[x - reach .. x + reach], rows of `width` bytes. */
FOR_EACH_PROCESSOR static void spread_along(const uint8_t *from, uint8_t *restrict into, int width, int reach)
{
    for (int by = -reach; by <= reach; by++) {
        int begin = by < 0 ? -by : 0, end = by > 0 ? width - by : width;
        for (int x = begin; x < end; x++)
            into[x] |= from[x + by];
    }
}

FOR_EACH_PROCESSOR static void take_any(const uint8_t *from, uint8_t *restrict into, int width)
{
    for (int x = 0; x < width; x++)
        into[x] |= from[x];
}

/* Least and greatest of three rows. */
FOR_EACH_PROCESSOR static void extremes(
    const int32_t *one, const int32_t *two, const int32_t *three, int32_t *restrict least, int32_t *restrict most,
    int width)
{
    for (int x = 0; x < width; x++) {
        int32_t low = one[x] < two[x] ? one[x] : two[x], high = one[x] > two[x] ? one[x] : two[x];
        least[x] = low < three[x] ? low : three[x];
        most[x] = high > three[x] ? high : three[x];
    }
}

/* Whether least and most, from one before to one after, lie further apart than LEAST_CHANGE. Returns whether any do. */
FOR_EACH_PROCESSOR static int mark_changes(
    const int32_t *least, const int32_t *most, uint8_t *restrict changes, int width)
{
    uint8_t any = 0;
    for (int x = 0; x < width; x++) {
        int32_t low = least[x - 1] < least[x] ? least[x - 1] : least[x];
        int32_t high = most[x - 1] > most[x] ? most[x - 1] : most[x];
        low = low < least[x + 1] ? low : least[x + 1];
        high = high > most[x + 1] ? high : most[x + 1];
        changes[x] = high - low > LEAST_CHANGE;
        any |= changes[x];
    }
    return any;
}

/* Marks the cells whose pixels are drawn, and finds the rectangle that holds them. Returns 0 where there is none.
 * scratch: as large as is_needed. least, most: a row each, with one more before and after. */
static int find_needed(Guided *guided, uint8_t *scratch, int32_t *least, int32_t *most)
{
    int height = guided->height, width = guided->width, reach = 2 * guided->radius + 2;
    int top = height, bottom = 0, left = width, right = 0;
    memset(guided->is_needed, 0, (size_t)height * width);
    memset(scratch, 0, (size_t)height * width);
    for (int y = 0; y < height; y++) {
        const int32_t *row = guided->target + (size_t)y * width;
        uint8_t *changes = guided->is_needed + (size_t)y * width; /* for the moment */
        extremes(y > 0 ? row - width : row, row, y + 1 < height ? row + width : row, least, most, width);
        least[-1] = least[0], most[-1] = most[0], least[width] = least[width - 1], most[width] = most[width - 1];
        if (!mark_changes(least, most, changes, width))
            continue;
        spread_along(changes, scratch + (size_t)y * width, width, reach);
        top = smaller(top, y), bottom = y + 1;
        int first = 0, last = width - 1;
        while (!changes[first])
            first++;
        while (!changes[last])
            last--;
        left = smaller(left, first), right = larger(right, last + 1);
    }
    if (top >= bottom)
        return 0;
    memset(guided->is_needed, 0, (size_t)height * width);
    for (int y = top; y < bottom; y++)
        for (int to = larger(0, y - reach); to < smaller(height, y + reach + 1); to++)
            take_any(scratch + (size_t)y * width, guided->is_needed + (size_t)to * width, width);
    /* Between the last drawn cell and the next lie pixels that take some of both. */
    guided->top = larger(0, top - reach - 1), guided->bottom = smaller(height, bottom + reach + 1);
    guided->left = larger(0, left - reach - 1), guided->right = smaller(width, right + reach + 1);
    return 1;
}

/* ---- the model of every window ---- */

FOR_EACH_PROCESSOR static void spread_guide(const uint8_t *bgr, int32_t *restrict planes, int step, int count)
{
    for (int x = 0; x < count; x++) {
        planes[B * step + x] = bgr[3 * x] - GRAY;
        planes[G * step + x] = bgr[3 * x + 1] - GRAY;
        planes[R * step + x] = bgr[3 * x + 2] - GRAY;
    }
}

FOR_EACH_PROCESSOR static void add_row(int32_t *restrict sum, const int32_t *row, int count)
{
    for (int x = 0; x < count; x++)
        sum[x] += row[x];
}

FOR_EACH_PROCESSOR static void take_row(int32_t *restrict sum, const int32_t *row, int count)
{
    for (int x = 0; x < count; x++)
        sum[x] -= row[x];
}

FOR_EACH_PROCESSOR static void add_product(int32_t *restrict sum, const int32_t *one, const int32_t *other, int count)
{
    for (int x = 0; x < count; x++)
        sum[x] += one[x] * other[x];
}

FOR_EACH_PROCESSOR static void take_product(int32_t *restrict sum, const int32_t *one, const int32_t *other, int count)
{
    for (int x = 0; x < count; x++)
        sum[x] -= one[x] * other[x];
}

/* Sums of 2 * radius + 1 neighbours: from[0] is the first one's leftmost. */
FOR_EACH_PROCESSOR static void sum_along(const int32_t *from, int32_t *restrict into, int radius, int count)
{
    for (int x = 0; x < count; x++)
        into[x] = from[x] + from[x + 1] + from[x + 2];
    for (int by = 3; by <= 2 * radius; by += 2)
        for (int x = 0; x < count; x++)
            into[x] += from[x + by] + from[x + by + 1];
}

/* (bb bg br; bg gg gr; br gr rr) slopes = (bt gt rt), by elimination: epsilon keeps every pivot above itself. */
FOR_EACH_PROCESSOR static void solve(
    const int32_t *sums, int step, float *restrict slope_b, float *restrict slope_g, float *restrict slope_r,
    float *restrict offset, float share, float epsilon, int count)
{
    const float target_share = share / TARGET_STEPS;
    for (int x = 0; x < count; x++) {
        const int32_t *sum = sums + x;
        float b = sum[B * step] * share, g = sum[G * step] * share, r = sum[R * step] * share;
        float t = sum[T * step] * target_share;
        float bb = sum[BB * step] * share - b * b + epsilon, bg = sum[BG * step] * share - b * g;
        float br = sum[BR * step] * share - b * r, gg = sum[GG * step] * share - g * g + epsilon;
        float gr = sum[GR * step] * share - g * r, rr = sum[RR * step] * share - r * r + epsilon;
        float bt = sum[BT * step] * target_share - b * t, gt = sum[GT * step] * target_share - g * t;
        float rt = sum[RT * step] * target_share - r * t;
        float pivot = 1.0f / bb, one = bg * pivot, two = br * pivot;
        gg -= one * bg, gr -= one * br, gt -= one * bt;
        rr -= two * br, rt -= two * bt;
        float second = 1.0f / gg, three = gr * second;
        rr -= three * gr, rt -= three * gt;
        float by_r = rt / rr, by_g = (gt - gr * by_r) * second, by_b = (bt - bg * by_g - br * by_r) * pivot;
        slope_b[x] = by_b, slope_g[x] = by_g, slope_r[x] = by_r;
        offset[x] = t - by_b * b - by_g * g - by_r * r;
    }
}

/* The columns sums are taken of, and those models are found for. */
typedef struct {
    int from, count, model_from, model_count, step;
} Columns;

static Columns columns_of(const Guided *guided)
{
    int radius = guided->radius, width = guided->width;
    Columns columns = {.from = larger(0, guided->left - 2 * radius), .model_from = larger(0, guided->left - radius)};
    columns.count = smaller(width, guided->right + 2 * radius) - columns.from;
    columns.model_count = smaller(width, guided->right + radius) - columns.model_from;
    columns.step = columns.count + 2 * radius;
    return columns;
}

/* Adds a row of guide and target to the sums over columns, or takes one off. row: four planes of scratch. */
static void count_row(const Guided *guided, const Columns *columns, int32_t *sums, int32_t *row, int y, int is_taken)
{
    int step = columns->step, radius = guided->radius, count = columns->count;
    y = reflected(y, guided->height);
    spread_guide((const uint8_t *)row_of(&guided->low, y) + 3 * columns->from, row, step, count);
    memcpy(row + T * step, guided->target + (size_t)y * guided->width + columns->from, sizeof *row * (size_t)count);
    for (int sum = 0; sum < SUMS; sum++) {
        int32_t *into = sums + sum * step + radius;
        const int32_t *one = row + factors[sum][0] * step, *other = row + factors[sum][1] * step;
        if (sum <= T)
            (is_taken ? take_row : add_row)(into, row + sum * step, count);
        else
            (is_taken ? take_product : add_product)(into, one, other, count);
    }
}

static void model_rows(void *job, int top, int bottom)
{
    Guided *guided = job;
    Columns columns = columns_of(guided);
    int radius = guided->radius, width = guided->width, step = columns.step, side = 2 * radius + 1;
    int first = larger(0, guided->top - radius);
    int32_t *sums = calloc((size_t)(2 * SUMS + T + 1) * step, sizeof *sums);
    if (!sums) {
        atomic_store(&guided->lacks_memory, 1);
        return;
    }
    int32_t *windows = sums + SUMS * step, *row = windows + SUMS * step;
    for (int y = first + top; y < first + bottom; y++) {
        if (y == first + top) {
            for (int at = y - radius; at <= y + radius; at++)
                count_row(guided, &columns, sums, row, at, 0);
        } else {
            count_row(guided, &columns, sums, row, y + radius, 0);
            count_row(guided, &columns, sums, row, y - radius - 1, 1);
        }
        for (int sum = 0; sum < SUMS; sum++) {
            int32_t *along = sums + sum * step;
            /* Beyond the picture's own columns; where more columns follow, their sums are not asked for. */
            for (int at = 0; at < radius; at++) {
                int before = columns.from - 1 - at, after = columns.from + columns.count + at;
                int left = before < 0 ? reflected(before, width) - columns.from : 0;
                int right = after >= width ? reflected(after, width) - columns.from : 0;
                along[radius - 1 - at] = along[radius + left];
                along[radius + columns.count + at] = along[radius + right];
            }
            int skipped = columns.model_from - columns.from;
            sum_along(along + skipped, windows + sum * step, radius, columns.model_count);
        }
        float *planes[PLANES];
        for (int plane = 0; plane < PLANES; plane++)
            planes[plane] = (float *)row_of(&guided->models, plane * guided->height + y) + columns.model_from;
        solve(windows, step, planes[0], planes[1], planes[2], planes[3], 1.0f / (float)(side * side),
              guided->epsilon * 255.0f * 255.0f, columns.model_count);
    }
    free(sums);
}

/* ---- the means of the models, and the picture under them ---- */

/* Means for the last two rows of cells asked for, and between them for a row of pixels; its colours and values. */
typedef struct {
    float *means[2][PLANES], *sums, *between[PLANES];
    float *least[2], *most[2]; /* what the means can give at most and at least, whatever the pixel */
    float *blue, *green, *red, *values;
    int held[2];
    int *kinds, kinds_above, kinds_below; /* of the pixels after each cell, between these two rows of cells */
} Means;

FOR_EACH_PROCESSOR static void add_floats(float *restrict sum, const float *row, int count)
{
    for (int x = 0; x < count; x++)
        sum[x] += row[x];
}

FOR_EACH_PROCESSOR static void mean_along(const float *from, float *restrict into, int radius, float share, int count)
{
    for (int x = 0; x < count; x++)
        into[x] = from[x] + from[x + 1] + from[x + 2];
    for (int by = 3; by <= 2 * radius; by += 2)
        for (int x = 0; x < count; x++)
            into[x] += from[x + by] + from[x + by + 1];
    for (int x = 0; x < count; x++)
        into[x] *= share;
}

FOR_EACH_PROCESSOR static void lay_between(
    const float *above, const float *below, float lower, float *restrict into, int count)
{
    for (int x = 0; x < count; x++)
        into[x] = above[x] + (below[x] - above[x]) * lower;
}

FOR_EACH_PROCESSOR static void find_bounds(
    const float *by_b, const float *by_g, const float *by_r, const float *offset, float *restrict least,
    float *restrict most, int count)
{
    for (int x = 0; x < count; x++) {
        float b = by_b[x] < 0.0f ? -by_b[x] : by_b[x], g = by_g[x] < 0.0f ? -by_g[x] : by_g[x];
        float reach = (b + g + (by_r[x] < 0.0f ? -by_r[x] : by_r[x])) * GRAY;
        least[x] = offset[x] - reach, most[x] = offset[x] + reach;
    }
}

static void find_means(const Guided *guided, Means *means, int y)
{
    if (means->held[y & 1] == y)
        return;
    means->held[y & 1] = y;
    int radius = guided->radius, width = guided->width, side = 2 * radius + 1;
    int from = larger(0, guided->left - radius), count = smaller(width, guided->right + radius) - from;
    int skipped = guided->left - from;
    for (int plane = 0; plane < PLANES; plane++) {
        float *sums = means->sums + radius;
        memset(sums, 0, sizeof *sums * (size_t)count);
        for (int by = -radius; by <= radius; by++) {
            int row = plane * guided->height + reflected(y + by, guided->height);
            add_floats(sums, (const float *)row_of(&guided->models, row) + from, count);
        }
        for (int at = 0; at < radius; at++) {
            int before = from - 1 - at, after = from + count + at;
            sums[-1 - at] = before < 0 ? sums[reflected(before, width) - from] : 0.0f;
            sums[count + at] = after >= width ? sums[reflected(after, width) - from] : 0.0f;
        }
        float *into = means->means[y & 1][plane];
        mean_along(means->sums + skipped, into + guided->left, radius, 1.0f / (float)(side * side),
                   guided->right - guided->left);
    }
    float *const *planes = means->means[y & 1];
    int left = guided->left;
    find_bounds(planes[0] + left, planes[1] + left, planes[2] + left, planes[3] + left, means->least[y & 1] + left,
                means->most[y & 1] + left, guided->right - left);
}

/* Four pixels side by side, of which the last may belong to the next cell, or lie in a row's slack. */
typedef float Pixels __attribute__((vector_size(4 * sizeof(float))));
enum { SLACK = 4 };

INLINED Pixels pixels_at(const float *from)
{
    Pixels pixels;
    memcpy(&pixels, from, sizeof pixels);
    return pixels;
}

FOR_EACH_PROCESSOR static void split(
    const uint8_t *bgr, float *restrict blue, float *restrict green, float *restrict red, int count)
{
    for (int x = 0; x < count; x++) {
        blue[x] = (float)(bgr[3 * x] - GRAY);
        green[x] = (float)(bgr[3 * x + 1] - GRAY);
        red[x] = (float)(bgr[3 * x + 2] - GRAY);
    }
}

/* The models between cells [first, end) and their next ones, applied to the pixels there. */
FOR_EACH_PROCESSOR static void apply(
    const Guided *guided, float *const between[PLANES], const float *blue, const float *green, const float *red,
    float *restrict values, int first, int end)
{
    const float *by_b = between[0], *by_g = between[1], *by_r = between[2], *offset = between[3];
    const float *shares = guided->shares;
    const int *starts = guided->starts;
    for (int cell = first; cell < end; cell++) {
        int next = smaller(cell + 1, guided->width - 1);
        float b = by_b[cell], g = by_g[cell], r = by_r[cell], rest = offset[cell];
        float more_b = by_b[next] - b, more_g = by_g[next] - g, more_r = by_r[next] - r, more = offset[next] - rest;
        for (int x = starts[cell]; x < starts[cell + 1]; x += 4) {
            Pixels bs = pixels_at(blue + x), gs = pixels_at(green + x), rs = pixels_at(red + x);
            Pixels here = b * bs + g * gs + r * rs + rest, change = more_b * bs + more_g * gs + more_r * rs + more;
            Pixels value = here + change * pixels_at(shares + x);
            memcpy(values + x, &value, sizeof value);
        }
    }
}

FOR_EACH_PROCESSOR static void round_levels(const float *values, uint8_t *restrict levels, int count)
{
    for (int x = 0; x < count; x++) {
        float value = values[x] * 255.0f + 0.5f;
        value = value > 0.0f ? value : 0.0f;
        value = value < 255.0f ? value : 255.0f;
        levels[x] = (uint8_t)(int)value;
    }
}

/* The pixels between a cell and its next, over two rows of cells, are drawn, or UNEVEN, or all of one level. */
enum { DRAWN = -1, UNEVEN = -2 };

INLINED int kind_of(const Guided *guided, Means *means, int above, int below, int cell)
{
    int next = smaller(cell + 1, guided->width - 1);
    const uint8_t *needed = guided->is_needed + (size_t)above * guided->width;
    const uint8_t *levels = guided->low_levels + (size_t)above * guided->width;
    size_t down = (size_t)(below - above) * guided->width;
    if (needed[cell] | needed[next] | needed[down + cell] | needed[down + next]) {
        find_means(guided, means, above);
        find_means(guided, means, below);
        const float *least = means->least[above & 1], *most = means->most[above & 1];
        const float *least_below = means->least[below & 1], *most_below = means->most[below & 1];
        if (least[cell] > guided->full_from && least[next] > guided->full_from &&
            least_below[cell] > guided->full_from && least_below[next] > guided->full_from)
            return ((const uint8_t *)guided->curve.data)[255];
        if (most[cell] < guided->empty_below && most[next] < guided->empty_below &&
            most_below[cell] < guided->empty_below && most_below[next] < guided->empty_below)
            return ((const uint8_t *)guided->curve.data)[0];
        return DRAWN;
    }
    int level = levels[cell];
    return level == levels[next] && level == levels[down + cell] && level == levels[down + next] ? level : UNEVEN;
}

/* The plain enlargement of the levels, for what is neither drawn nor even. */
static void enlarge(const Guided *guided, uint8_t *into, int above, int below, float lower, int cell)
{
    int next = smaller(cell + 1, guided->width - 1);
    const uint8_t *upper = guided->low_levels + (size_t)above * guided->width;
    const uint8_t *under = guided->low_levels + (size_t)below * guided->width;
    for (int x = guided->starts[cell]; x < guided->starts[cell + 1]; x++) {
        float share = guided->shares[x], one = upper[cell] + (upper[next] - upper[cell]) * share;
        float other = under[cell] + (under[next] - under[cell]) * share;
        into[x] = (uint8_t)(one + (other - one) * lower + 0.5f);
    }
}

static const int *kinds_between(const Guided *guided, Means *means, int above, int below)
{
    if (means->kinds_above != above || means->kinds_below != below)
        for (int cell = 0; cell < guided->width; cell++)
            means->kinds[cell] = kind_of(guided, means, above, below, cell);
    means->kinds_above = above, means->kinds_below = below;
    return means->kinds;
}

static void picture_strip(const Guided *guided, Means *means, int top, int bottom)
{
    const uint8_t *curve = guided->curve.data;
    for (int y = top; y < bottom; y++) {
        int above = guided->rows[y].first, below = above + (guided->rows[y].share > 0);
        float lower = (float)guided->rows[y].share / WHOLE_SHARE;
        uint8_t *levels = row_of(&guided->levels, y);
        const int *kinds = kinds_between(guided, means, above, below);
        int is_ready = 0;
        for (int cell = 0, end; cell < guided->width; cell = end) {
            int kind = kinds[cell];
            for (end = cell + 1; end < guided->width && kinds[end] == kind;)
                end++;
            int left = guided->starts[cell], right = guided->starts[end];
            if (kind == DRAWN) {
                if (!is_ready) {
                    for (int plane = 0; plane < PLANES; plane++)
                        lay_between(means->means[above & 1][plane] + guided->left,
                                    means->means[below & 1][plane] + guided->left, lower,
                                    means->between[plane] + guided->left, guided->right - guided->left);
                    is_ready = 1;
                }
                split((const uint8_t *)row_of(&guided->high, y) + 3 * left, means->blue + left, means->green + left,
                      means->red + left, right - left);
                apply(guided, means->between, means->blue, means->green, means->red, means->values, cell, end);
                round_levels(means->values + left, levels + left, right - left);
                for (int x = left; x < right; x++)
                    levels[x] = curve[levels[x]];
            } else if (kind == UNEVEN) {
                for (int at = cell; at < end; at++)
                    enlarge(guided, levels, above, below, lower, at);
            } else
                memset(levels + left, kind, (size_t)(right - left));
        }
    }
}

static void picture_rows(void *job, int top, int bottom)
{
    Guided *guided = job;
    Means means = {.held = {-1, -1}, .kinds_above = -1};
    size_t width = (size_t)guided->width, row = (size_t)guided->high.width + SLACK;
    size_t count = 3 * PLANES * width + 5 * width + 2 * (size_t)guided->radius + 4 * row;
    float *floats = calloc(count, sizeof *floats);
    means.kinds = malloc(width * sizeof *means.kinds);
    if (!floats || !means.kinds) {
        free(floats);
        free(means.kinds);
        atomic_store(&guided->lacks_memory, 1);
        return;
    }
    for (int plane = 0; plane < PLANES; plane++) {
        means.means[0][plane] = floats + (size_t)plane * width;
        means.means[1][plane] = floats + (size_t)(PLANES + plane) * width;
        means.between[plane] = floats + (size_t)(2 * PLANES + plane) * width;
    }
    means.least[0] = floats + 3 * PLANES * width, means.least[1] = means.least[0] + width;
    means.most[0] = means.least[1] + width, means.most[1] = means.most[0] + width;
    means.sums = means.most[1] + width;
    means.blue = means.sums + width + 2 * (size_t)guided->radius;
    means.green = means.blue + row, means.red = means.green + row, means.values = means.red + row;
    picture_strip(guided, &means, top, bottom);
    free(floats);
    free(means.kinds);
}

/* ---- the call ---- */

static int make_places(Guided *guided)
{
    size_t height = (size_t)guided->height, width = (size_t)guided->width, high_width = (size_t)guided->high.width;
    guided->target = malloc(sizeof *guided->target * height * width);
    guided->low_levels = malloc(2 * height * width);
    guided->matte_rows = malloc(sizeof(Between) * height);
    guided->matte_columns = malloc(sizeof(Between) * width);
    guided->rows = malloc(sizeof(Between) * (size_t)guided->high.height);
    guided->columns = malloc(sizeof(Between) * high_width);
    guided->shares = calloc(high_width + SLACK, sizeof(float));
    guided->starts = malloc(sizeof(int) * (width + 1));
    if (!guided->target || !guided->low_levels || !guided->matte_rows || !guided->matte_columns || !guided->rows ||
        !guided->columns || !guided->shares || !guided->starts)
        return 0;
    guided->is_needed = guided->low_levels + height * width;
    place_between(guided->matte_rows, guided->matte.height, guided->height, WHOLE_SHARE);
    place_between(guided->matte_columns, guided->matte.width, guided->width, WHOLE_SHARE);
    place_between(guided->rows, guided->height, guided->high.height, WHOLE_SHARE);
    place_between(guided->columns, guided->width, guided->high.width, WHOLE_SHARE);
    place_starts(guided->starts, guided->columns, 1, guided->width, guided->high.width);
    for (int x = 0; x < guided->high.width; x++)
        guided->shares[x] = (float)guided->columns[x].share / WHOLE_SHARE;
    return 1;
}

/* A value below a level, or above it, by this share of a level is so whatever was rounded on the way. */
static const float CLEARLY = 0.01f;

static void find_ends(Guided *guided)
{
    const uint8_t *curve = guided->curve.data;
    int empty = 0, full = 255;
    while (empty < 255 && curve[empty + 1] == curve[0])
        empty++;
    while (full > 0 && curve[full - 1] == curve[255])
        full--;
    guided->empty_below = ((float)empty + 0.5f - CLEARLY) / 255.0f;
    guided->full_from = ((float)full - 0.5f + CLEARLY) / 255.0f;
}

/* Without Python's lock. Returns 0 where memory does not suffice. */
static int run(Guided *guided)
{
    int height = guided->height, width = guided->width;
    uint8_t *scratch = malloc((size_t)height * width);
    int32_t *extreme = malloc(2 * sizeof *extreme * ((size_t)width + 2));
    int is_done = scratch && extreme && make_places(guided);
    if (is_done) {
        find_ends(guided);
        in_strips(target_rows, guided, height, TARGET_ROWS, guided->threads);
        if (find_needed(guided, scratch, extreme + 1, extreme + width + 3)) {
            int radius = guided->radius, first = larger(0, guided->top - radius);
            in_strips(model_rows, guided, smaller(height, guided->bottom + radius) - first, MODEL_ROWS,
                      guided->threads);
        }
        in_strips(picture_rows, guided, guided->high.height, PICTURE_ROWS, guided->threads);
        is_done = !atomic_load(&guided->lacks_memory);
    }
    free(scratch);
    free(extreme);
    free(guided->target);
    free(guided->low_levels);
    free(guided->matte_rows);
    free(guided->matte_columns);
    free(guided->rows);
    free(guided->columns);
    free(guided->shares);
    free(guided->starts);
    return is_done;
}

PyObject *guided_levels(PyObject *self, PyObject *args)
{
    PyObject *matte, *low, *high, *curve, *models, *levels;
    Guided job;
    int is_done = 0;
    (void)self;
    memset(&job, 0, sizeof job);
    if (!PyArg_ParseTuple(args, "OOOOOOiffi", &matte, &low, &high, &curve, &models, &levels, &job.radius, &job.epsilon,
                          &job.contrast, &job.threads))
        return NULL;
    if (job.radius < 1 || job.radius > MOST_RADIUS)
        return PyErr_Format(PyExc_ValueError, "radius must be 1 to %d; came %d", MOST_RADIUS, job.radius);
    if (!(job.epsilon > 0.0f) || !(job.contrast > 0.0f))
        return PyErr_Format(PyExc_ValueError, "epsilon and contrast must be above 0");
    if (take_array(&job.matte, matte, "matte", 'f', 1, 0) && take_array(&job.low, low, "low_bgr", 'B', 3, 0) &&
        take_array(&job.high, high, "high_bgr", 'B', 3, 0) && take_array(&job.curve, curve, "curve", 'B', 1, 0) &&
        check_size(&job.curve, "curve", 1, 256) && take_array(&job.models, models, "models", 'f', 1, 1) &&
        check_size(&job.models, "models", PLANES * job.low.height, job.low.width) &&
        take_array(&job.levels, levels, "levels", 'B', 1, 1) &&
        check_size(&job.levels, "levels", job.high.height, job.high.width)) {
        job.height = job.low.height, job.width = job.low.width;
        Py_BEGIN_ALLOW_THREADS;
        is_done = run(&job);
        Py_END_ALLOW_THREADS;
        if (!is_done)
            PyErr_NoMemory();
    }
    give_array(&job.matte);
    give_array(&job.low);
    give_array(&job.high);
    give_array(&job.curve);
    give_array(&job.models);
    give_array(&job.levels);
    if (!is_done)
        return NULL;
    Py_RETURN_NONE;
}
