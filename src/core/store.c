/* The store: named persistent tensors, found by a hash table, laid out in blocks.
 *
 * Slots wait without memory until the data of one of them is asked for; then all that wait are laid out together: one buffer per (role, kind, dtype),
 * each slot at a multiple of 64 bytes, zeros between. The role is the text after the last ':' of a name with at least two ("conv1:w:m": m), else
 * nothing: so all weights and biases share a block, all momenta another. The kind is trainable, state or temporary, from the flags: running
 * statistics do not lie among the parameters. */
#include "adze/core.h"

#include "base/base.h"
#include "core/buffer.h"
#include "core/type.h"

enum {
    SLOT_ALIGN = 64,
    NAME_LONGEST = 1023,
    MAX_SLOTS = 1 << 24,
    MAX_BLOCKS = 64 /* laid out at a time; a file with more roles than this gets a block per slot, not a search per role */
};

typedef struct slot {
    char *name;
    uint64_t hash;
    uint32_t flags;
    adze_tensor tensor; /* buf NULL: waits for its block; else one reference */
} slot;

struct adze_store {
    adze_ctx *ctx;
    slot *slots;
    int count, cap;
    int *table;    /* open addressing; slot number + 1, 0 is free */
    int table_cap; /* a power of two, at least twice the count */
    int waiting;
    uint64_t generation, version;
};

int adze_store_new(adze_ctx *ctx, adze_store **out) {
    adze_store *s = *out = adze_alloc(ctx, 1, sizeof *s);
    TRY(ADZE_GOT(s));
    s->ctx = ctx;
    return ADZE_OK;
}

static void slot_clear(adze_store *s, slot *x) {
    adze_free(s->ctx, x->name);
    adze_tensor_free(&x->tensor);
}

void adze_store_free(adze_store *s) {
    if (s) {
        for (int i = 0; i < s->count; i++) {
            slot_clear(s, &s->slots[i]);
        }
        adze_free(s->ctx, s->slots);
        adze_free(s->ctx, s->table);
        adze_free(s->ctx, s);
    }
}

/* -- names -- */

static void table_put(adze_store *s, int number) {
    int mask = s->table_cap - 1, at = (int)(s->slots[number].hash & (uint64_t)mask);
    while (s->table[at]) {
        at = (at + 1) & mask;
    }
    s->table[at] = number + 1;
}

static void table_refill(adze_store *s) {
    if (s->table_cap) {
        memset(s->table, 0, (size_t)s->table_cap * sizeof *s->table);
    }
    for (int i = 0; i < s->count; i++) {
        table_put(s, i);
    }
}

int adze_store_find(const adze_store *s, const char *name) {
    if (s->table_cap == 0) {
        return -1;
    }
    uint64_t hash = adze_hash_str(name);
    int mask = s->table_cap - 1;
    for (int at = (int)(hash & (uint64_t)mask); s->table[at]; at = (at + 1) & mask) {
        const slot *x = &s->slots[s->table[at] - 1];
        if (x->hash == hash && strcmp(x->name, name) == 0) {
            return s->table[at] - 1;
        }
    }
    return -1;
}

static int store_grow(adze_store *s) {
    if (s->count == MAX_SLOTS) {
        return adze_fail(s->ctx, ADZE_ENOSUP, "a store cannot hold more than %d tensors", MAX_SLOTS);
    }
    if (s->count == s->cap) {
        int cap = s->cap ? s->cap * 2 : 16;
        slot *slots = adze_resize(s->ctx, s->slots, s->cap, cap, sizeof *slots);
        TRY(ADZE_GOT(slots));
        s->slots = slots;
        s->cap = cap;
    }
    if ((s->count + 1) * 2 > s->table_cap) {
        int cap = s->table_cap ? s->table_cap * 2 : 64;
        int *table = adze_alloc(s->ctx, cap, sizeof *table);
        TRY(ADZE_GOT(table));
        adze_free(s->ctx, s->table);
        s->table = table;
        s->table_cap = cap;
        table_refill(s);
    }
    return ADZE_OK;
}

static int check_name(adze_store *s, const char *name) {
    size_t n = strlen(name);
    if (n == 0 || n > NAME_LONGEST) {
        return adze_fail(s->ctx, ADZE_EARG, "a name of %zu bytes is not possible in a store; 1 to %d are", n, NAME_LONGEST);
    }
    for (size_t i = 0; i < n; i++) {
        if ((unsigned char)name[i] < ' ' || name[i] == 0x7f) {
            return adze_fail(s->ctx, ADZE_EARG, "the name of a tensor has a control character at byte %zu", i);
        }
    }
    return ADZE_OK;
}

static int check_type(adze_store *s, const char *name, const adze_type *type) {
    if (adze_dtype_size(type->dtype) == 0) {
        return adze_fail(s->ctx, ADZE_ETYPE, "'%s': a tensor needs a dtype", name);
    }
    if (adze_type_bytes(type) < 0 || adze_type_bytes(type) > INT64_MAX / 2) {
        return adze_fail(s->ctx, ADZE_ESHAPE, "'%s': %s is not possible: its dims are negative or too large", name, ADZE_SHOWN(type));
    }
    return ADZE_OK;
}

int adze_store_add(adze_store *s, const char *name, adze_type type, uint32_t flags, int *number) {
    int found = adze_store_find(s, name);
    if (found >= 0) {
        adze_type old = adze_tensor_type(&s->slots[found].tensor);
        if (!adze_type_equal(&old, &type)) {
            return adze_fail(s->ctx, ADZE_ESHAPE, "'%s' is %s in the store, but %s is asked for", name, ADZE_SHOWN(&old), ADZE_SHOWN(&type));
        }
        if (number) {
            *number = found;
        }
        return ADZE_OK;
    }
    TRY(check_name(s, name));
    TRY(check_type(s, name, &type));
    TRY(store_grow(s));
    char *copy = adze_strdup(s->ctx, name);
    TRY(ADZE_GOT(copy));
    adze_tensor t = {.dtype = type.dtype, .rank = type.rank};
    int64_t stride = 1;
    for (int i = type.rank - 1; i >= 0; i--) {
        t.dims[i] = type.dims[i];
        t.strides[i] = stride;
        stride = type.dims[i] > 0 && stride <= INT64_MAX / type.dims[i] ? stride * type.dims[i] : stride;
    }
    s->slots[s->count] = (slot){.name = copy, .hash = adze_hash_str(name), .flags = flags, .tensor = t};
    table_put(s, s->count);
    s->waiting++;
    if (number) {
        *number = s->count;
    }
    s->count++;
    return ADZE_OK;
}

/* The numbers of the slots behind it fall by one: the new generation tells. */
int adze_store_remove(adze_store *s, const char *name) {
    int i = adze_store_find(s, name);
    if (i < 0) {
        return adze_fail(s->ctx, ADZE_EARG, "the store has no '%s' to remove", name);
    }
    s->waiting -= s->slots[i].tensor.buf == NULL;
    slot_clear(s, &s->slots[i]);
    memmove(&s->slots[i], &s->slots[i + 1], (size_t)(s->count - i - 1) * sizeof *s->slots);
    s->count--;
    table_refill(s);
    s->generation++;
    return ADZE_OK;
}

int adze_store_count(const adze_store *s) {
    return s->count;
}

static const slot *slot_at(const adze_store *s, int number) {
    return number >= 0 && number < s->count ? &s->slots[number] : NULL;
}

const char *adze_store_name(const adze_store *s, int number) {
    const slot *x = slot_at(s, number);
    return x ? x->name : NULL;
}

uint32_t adze_store_flags(const adze_store *s, int number) {
    const slot *x = slot_at(s, number);
    return x ? x->flags : 0;
}

adze_type adze_store_type(const adze_store *s, int number) {
    const slot *x = slot_at(s, number);
    return x ? adze_tensor_type(&x->tensor) : (adze_type){0};
}

uint64_t adze_store_generation(const adze_store *s) {
    return s->generation;
}

uint64_t adze_store_version(const adze_store *s) {
    return s->version;
}

void adze_store_touch(adze_store *s) {
    s->version++;
}

/* -- layout -- */

static const char *role_of(const char *name) {
    const char *first = strchr(name, ':'), *last = strrchr(name, ':');
    return first && last != first ? last + 1 : "";
}

static bool same_block(const slot *a, const slot *b) {
    const uint32_t kind = ADZE_SLOT_TRAINABLE | ADZE_SLOT_STATE | ADZE_SLOT_TEMP;
    return a->tensor.dtype == b->tensor.dtype && (a->flags & kind) == (b->flags & kind) && strcmp(role_of(a->name), role_of(b->name)) == 0;
}

static int64_t slot_bytes(const slot *x) {
    adze_type type = adze_tensor_type(&x->tensor);
    return adze_type_bytes(&type);
}

/* Gives memory to the waiting slots from `first` up to `end` that belong with slot `first`. */
static int lay_block(adze_store *s, int first, int end) {
    int64_t total = 0;
    for (int i = first; i < end; i++) {
        slot *x = &s->slots[i];
        if (!x->tensor.buf && same_block(x, &s->slots[first])) {
            int64_t bytes = slot_bytes(x);
            if (!adze_add_size(total, bytes, &total) || !adze_add_size(total, SLOT_ALIGN - 1, &total)) {
                return adze_fail(s->ctx, ADZE_ENOMEM, "out of memory: the tensors of the store are more than can be addressed");
            }
            total -= total % SLOT_ALIGN;
        }
    }
    adze_buffer *buf = adze_buffer_new(s->ctx, total);
    TRY(ADZE_GOT(buf));
    int64_t at = 0;
    const slot model = s->slots[first];
    for (int i = first; i < end; i++) {
        slot *x = &s->slots[i];
        if (!x->tensor.buf && same_block(x, &model)) {
            adze_buffer_ref(buf);
            x->tensor.buf = buf;
            x->tensor.offset = at;
            at = (at + slot_bytes(x) + SLOT_ALIGN - 1) / SLOT_ALIGN * SLOT_ALIGN;
            s->waiting--;
        }
    }
    adze_buffer_unref(buf);
    return ADZE_OK;
}

int adze_store_tensor(adze_store *s, int number, adze_tensor *out) {
    s->version++;
    *out = (adze_tensor){0};
    if (!slot_at(s, number)) {
        return adze_fail(s->ctx, ADZE_EARG, "the store has no slot %d; it has %d slots", number, s->count);
    }
    for (int i = 0, blocks = 0; i < s->count && s->waiting; i++) {
        if (!s->slots[i].tensor.buf) {
            TRY(lay_block(s, i, blocks++ < MAX_BLOCKS ? s->count : i + 1));
        }
    }
    *out = s->slots[number].tensor;
    return ADZE_OK;
}

/* -- hash: over the slots in order of their names, so that it depends on the content alone -- */

typedef struct saved_slot { /* what is hashed; no padding */
    uint64_t name[2], data[2];
    int64_t dtype, rank, dims[ADZE_MAX_RANK];
} saved_slot;

static void sift(const adze_store *s, int *v, int root, int n) {
    for (int child; (child = 2 * root + 1) < n; root = child) {
        if (child + 1 < n && strcmp(s->slots[v[child]].name, s->slots[v[child + 1]].name) < 0) {
            child++;
        }
        if (strcmp(s->slots[v[root]].name, s->slots[v[child]].name) >= 0) {
            return;
        }
        int held = v[root];
        v[root] = v[child];
        v[child] = held;
    }
}

/* Heap sort: the C library's qsort may allocate behind our back. */
static void sort_by_name(const adze_store *s, int *v, int n) {
    for (int i = n / 2 - 1; i >= 0; i--) {
        sift(s, v, i, n);
    }
    for (int end = n - 1; end > 0; end--) {
        int held = v[0];
        v[0] = v[end];
        v[end] = held;
        sift(s, v, 0, end);
    }
}

static int hash_sorted(adze_store *s, int *order, saved_slot *saved, uint64_t out[2]) {
    int n = 0;
    for (int i = 0; i < s->count; i++) {
        if (!(s->slots[i].flags & ADZE_SLOT_TEMP)) {
            order[n++] = i;
        }
    }
    sort_by_name(s, order, n);
    for (int i = 0; i < n; i++) {
        adze_tensor t;
        TRY(adze_store_tensor(s, order[i], &t));
        const slot *x = &s->slots[order[i]];
        adze_type type = adze_tensor_type(&t);
        saved_slot *r = &saved[i];
        adze_hash128(x->name, strlen(x->name), r->name);
        adze_hash128(adze_tensor_data(&t), (size_t)slot_bytes(x), r->data);
        r->dtype = type.dtype;
        r->rank = type.rank;
        memcpy(r->dims, type.dims, sizeof r->dims);
    }
    adze_hash128(saved, (size_t)n * sizeof *saved, out);
    return ADZE_OK;
}

int adze_store_hash(adze_store *s, uint64_t out[2]) {
    int *order = adze_alloc(s->ctx, s->count, sizeof *order);
    saved_slot *saved = order ? adze_alloc(s->ctx, s->count, sizeof *saved) : NULL;
    int status = saved ? hash_sorted(s, order, saved, out) : ADZE_ENOMEM;
    adze_free(s->ctx, order);
    adze_free(s->ctx, saved);
    return status;
}
