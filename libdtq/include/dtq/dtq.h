/**
 * @file dtq/dtq.h
 * Everything a producer needs. Code that runs tasks includes <dtq/handler.h> instead.
 */
#ifndef DTQ_DTQ_H
#define DTQ_DTQ_H

#include "admin.h"
#include "base.h"
#include "client.h"
#include "cron.h"
#include "dead.h"

#endif
