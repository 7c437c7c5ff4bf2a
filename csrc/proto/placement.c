/* Filling holes and levelling excess, place by place. */
#include "placement.h"

enum { NODES = DSM_PLACEMENT_NODES_MAX, COPIES = DSM_PLACEMENT_COPIES_MAX };

typedef struct plan {
  const dsm_placement *of;
  dsm_placement_list *lists;
  dsm_ring ring;
  uint8_t *ranks; /* per stripe: place of the receiver in the stripe's ring order */
  uint32_t copies;
  uint32_t low[NODES], high[NODES]; /* share of a place, rounded down and up */
  uint32_t load[COPIES][NODES];
} plan;

static size_t ring_bytes(void) {
  return dsm_ring_bytes(NODES, NODES * DSM_RING_POINTS_DEFAULT);
}

size_t dsm_placement_bytes(uint32_t stripe_count) {
  return ring_bytes() + stripe_count;
}

/* Shares in stripes of one place: whoever would have more than every stripe over all places has
 * exactly that, and the others share the rest. */
static void share(plan *self) {
  const uint32_t *weights = self->of->weights;
  uint64_t stripes = self->of->stripe_count, total = stripes * self->copies;
  bool capped[NODES] = {false};
  for (bool again = true; again;) {
    uint64_t sum = 0, left = total;
    again = false;
    for (uint32_t node = 0; node < NODES; node++) {
      if (capped[node]) left -= stripes;
      if (!capped[node]) sum += weights[node];
    }
    for (uint32_t node = 0; node < NODES; node++) {
      if (capped[node] || weights[node] == 0) continue;
      if (left * weights[node] > stripes * sum) {
        capped[node] = again = true;
        continue;
      }
      uint64_t parts = sum * self->copies;
      self->low[node] = (uint32_t)(left * weights[node] / parts);
      self->high[node] = (uint32_t)((left * weights[node] + parts - 1) / parts);
    }
  }
  for (uint32_t node = 0; node < NODES; node++)
    if (capped[node]) {
      self->low[node] = (uint32_t)(stripes / self->copies);
      self->high[node] = (uint32_t)((stripes + self->copies - 1) / self->copies);
    }
}

static uint32_t place_of(const plan *self, uint32_t stripe, uint32_t node) {
  for (uint32_t place = 0; place < self->copies; place++)
    if (self->lists[stripe].nodes[place] == node) return place;
  return COPIES;
}

/* Takes out who is not to be used, and who is there twice; counts the rest. */
static void keep(plan *self) {
  for (uint32_t stripe = 0; stripe < self->of->stripe_count; stripe++) {
    uint8_t *nodes = self->lists[stripe].nodes;
    for (uint32_t place = 0; place < COPIES; place++) {
      bool good = place < self->copies && nodes[place] < NODES && self->of->weights[nodes[place]];
      for (uint32_t before = 0; before < place && good; before++)
        good = nodes[before] != nodes[place];
      if (!good)
        nodes[place] = DSM_PLACEMENT_NOBODY;
      else
        self->load[place][nodes[place]]++;
    }
  }
}

static uint32_t order_of(const plan *self, uint32_t stripe, uint16_t *order) {
  return dsm_ring_prefer(&self->ring, dsm_hash64(&stripe, sizeof stripe, self->of->seed), NODES,
                         order);
}

/* The first in ring order that is below its share; else the one that is least above it. */
static uint32_t choose(const plan *self, uint32_t stripe, uint32_t place) {
  uint16_t order[NODES];
  uint32_t count = order_of(self, stripe, order), best = DSM_PLACEMENT_NOBODY;
  uint64_t best_load = UINT64_MAX;
  for (uint32_t i = 0; i < count; i++) {
    uint32_t node = order[i];
    if (place_of(self, stripe, node) < COPIES) continue;
    if (self->load[place][node] < self->high[node]) return node;
    uint64_t load = ((uint64_t)self->load[place][node] << 32) / (self->high[node] + 1);
    if (load >= best_load) continue;
    best_load = load;
    best = node;
  }
  return best;
}

static void fill(plan *self) {
  for (uint32_t place = 0; place < self->copies; place++)
    for (uint32_t stripe = 0; stripe < self->of->stripe_count; stripe++) {
      uint8_t *nodes = self->lists[stripe].nodes;
      if (nodes[place] != DSM_PLACEMENT_NOBODY) continue;
      uint32_t node = choose(self, stripe, place);
      nodes[place] = (uint8_t)node;
      self->load[place][node]++;
    }
}

static void rank(plan *self, uint32_t node) {
  for (uint32_t stripe = 0; stripe < self->of->stripe_count; stripe++) {
    uint16_t order[NODES];
    uint32_t count = order_of(self, stripe, order), place = 0;
    while (place < count && order[place] != node) place++;
    self->ranks[stripe] = (uint8_t)place;
  }
}

static void give(plan *self, uint32_t stripe, uint32_t place, uint32_t node) {
  uint8_t *nodes = self->lists[stripe].nodes;
  self->load[place][nodes[place]]--;
  self->load[place][node]++;
  nodes[place] = (uint8_t)node;
}

/* Where the receiver has the stripe already, at another place, the two change places: no copy is
 * made. Only if that leaves the other place as even as it was. */
static bool swap(plan *self, uint32_t stripe, uint32_t place, uint32_t node) {
  uint32_t other = place_of(self, stripe, node), donor = self->lists[stripe].nodes[place];
  if (self->load[other][node] <= self->low[node] || self->load[other][donor] >= self->high[donor])
    return false;
  give(self, stripe, place, node);
  give(self, stripe, other, donor);
  return true;
}

/* Brings the receiver up to `wanted` of a place, from donors above their `kept`. */
static void receive(plan *self, uint32_t place, uint32_t node, uint32_t wanted,
                    const uint32_t *kept) {
  rank(self, node);
  for (uint32_t round = 0; round < 2; round++)
    for (uint32_t at = 0; at < NODES; at++)
      for (uint32_t stripe = 0; stripe < self->of->stripe_count; stripe++) {
        if (self->load[place][node] >= wanted) return;
        uint32_t donor = self->lists[stripe].nodes[place];
        if (self->ranks[stripe] != at || donor == node || self->load[place][donor] <= kept[donor])
          continue;
        bool has = place_of(self, stripe, node) < COPIES;
        if (round == 0 && has) swap(self, stripe, place, node);
        if (round == 0 || has) continue;
        give(self, stripe, place, node);
      }
}

/* First who is below its share takes from who is above its own, then from who could spare one; then
 * what is still above goes to who has not yet its share rounded up. */
static void level(plan *self) {
  for (uint32_t place = 0; place < self->copies; place++) {
    for (uint32_t node = 0; node < NODES; node++) {
      if (self->load[place][node] < self->low[node])
        receive(self, place, node, self->low[node], self->high);
      if (self->load[place][node] < self->low[node])
        receive(self, place, node, self->low[node], self->low);
    }
    bool above = false;
    for (uint32_t node = 0; node < NODES; node++)
      above |= self->load[place][node] > self->high[node];
    for (uint32_t node = 0; node < NODES && above; node++)
      if (self->load[place][node] < self->high[node])
        receive(self, place, node, self->high[node], self->high);
  }
}

dsm_status dsm_placement_plan(const dsm_placement *placement, void *scratch,
                              dsm_placement_list *lists) {
  plan self = {.of = placement, .lists = lists};
  uint32_t usable = 0;
  for (uint32_t node = 0; node < NODES; node++) usable += placement->weights[node] != 0;
  if (usable == 0 || placement->copies == 0 || placement->copies > COPIES ||
      placement->stripe_count == 0)
    return DSM_USAGE;
  self.copies = placement->copies < usable ? placement->copies : usable;
  self.ranks = (uint8_t *)scratch + ring_bytes();
  DSM_TRY(
      dsm_ring_init(&self.ring, scratch, NODES, NODES * DSM_RING_POINTS_DEFAULT, placement->seed));
  for (uint32_t node = 0; node < NODES; node++)
    if (placement->weights[node]) DSM_TRY(dsm_ring_add(&self.ring, node, DSM_RING_POINTS_DEFAULT));
  share(&self);
  keep(&self);
  fill(&self);
  level(&self);
  return DSM_OK;
}
